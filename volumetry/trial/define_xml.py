"""define.xml of the ADaM-shaped data sets: Define-XML 2.1, made from the records themselves.

References: CDISC Define-XML Specification 2.1 (2019); ADaM Implementation Guide 1.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from volumetry.storage.csv_tables import Cell

_ODM = "http://www.cdisc.org/ns/odm/v1.3"
_DEF = "http://www.cdisc.org/ns/def/v2.1"
_XLINK = "http://www.w3.org/1999/xlink"
_XML = "http://www.w3.org/XML/1998/namespace"
_WRITTEN = "1960-01-01T00:00:00"  # as in the transport files: the same tables give the same file
_METHODS = {
    "ADY": "Days from the first treatment; a day of 0 or later is counted from 1, because CDISC has no day 0.",
    "BASE": "AVAL of the record with ABLFL = Y of the same subject and parameter.",
    "CHG": "AVAL - BASE; not at the baseline visit.",
    "PCHG": "100 * (AVAL - BASE) / BASE; not at the baseline visit, and missing where BASE is 0.",
    "AVAL": "Value of the record that serves the analysis visit by the rule of windows in methods.txt.",
    "ANL01FL": "Y: one record per subject, parameter and analysis visit is kept, the one that is analysed.",
    "ABLFL": "Y at the baseline visit.",
    "DTHFL": "Y if a row of the table of visits has the status died.",
}
_ASSIGNED = ("STUDYID", "USUBJID", "PARAMCD", "PARAM", "AVISIT", "AVISITN")
_PREDECESSORS = {"TRTP": "ADSL.TRT01P"}
_FROM_VISITS = "Table of visits"


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set as define.xml describes it.

    Parameters
    ----------
    name, label
        Such as ``ADSL``, and what it holds.
    structure, kind
        What a record is, and the class of ADaM.
    keys
        Columns that identify a record.
    columns, labels
        In their order, and the label of each.
    records
        By column.
    file
        Its name beside define.xml.
    """

    name: str
    label: str
    structure: str
    kind: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    labels: Mapping[str, str]
    records: Sequence[Mapping[str, Cell]]
    file: str


def define_xml(study: str, datasets: Sequence[DataSet]) -> bytes:
    """The file.

    Parameters
    ----------
    study
        Identifier of the study.
    datasets
        Described in their order.

    Returns
    -------
    bytes
        XML in UTF-8.
    """
    for prefix, uri in (("", _ODM), ("def", _DEF), ("xlink", _XLINK)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(f"{{{_ODM}}}ODM", {"FileType": "Snapshot", "FileOID": f"DEF.{study}", "ODMVersion": "1.3.2"})
    root.set("CreationDateTime", _WRITTEN)
    root.set(f"{{{_DEF}}}Context", "Other")
    of = _add(root, "Study", OID=f"ST.{study}")
    names = _add(of, "GlobalVariables")
    for name, text in (
        ("StudyName", study),
        ("StudyDescription", "CT endpoint of the trial"),
        ("ProtocolName", study),
    ):
        _add(names, name).text = text
    version = _add(of, "MetaDataVersion", OID=f"MDV.{study}", Name="Analysis data sets of the CT endpoint")
    version.set(f"{{{_DEF}}}DefineVersion", "2.1.0")
    standards = ET.SubElement(version, f"{{{_DEF}}}Standards")
    standard = {"OID": "STD.1", "Name": "ADaMIG", "Type": "IG", "Version": "1.3", "Status": "Final"}
    ET.SubElement(standards, f"{{{_DEF}}}Standard", standard)
    for dataset in datasets:
        _group(version, dataset)
    for dataset in datasets:
        for column in dataset.columns:
            _item(version, dataset, column)
    _codelists(version, datasets)
    for column, text in _METHODS.items():
        if any(column in dataset.columns for dataset in datasets):
            method = _add(
                version, "MethodDef", OID=f"MT.{column}", Name=f"Derivation of {column}", Type="Computation"
            )
            _described(method, text)
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def _group(version: ET.Element, dataset: DataSet) -> None:
    repeating = "No" if dataset.keys == ("STUDYID", "USUBJID") else "Yes"
    facts = {"OID": f"IG.{dataset.name}", "Name": dataset.name, "Repeating": repeating, "IsReferenceData": "No"}
    group = _add(version, "ItemGroupDef", **facts, SASDatasetName=dataset.name, Purpose="Analysis")
    group.set(f"{{{_DEF}}}Structure", dataset.structure)
    group.set(f"{{{_DEF}}}StandardOID", "STD.1")
    group.set(f"{{{_DEF}}}ArchiveLocationID", f"LF.{dataset.name}")
    _described(group, dataset.label)
    for place, column in enumerate(dataset.columns, start=1):
        mandatory = "Yes" if column in dataset.keys else "No"
        item = _add(
            group, "ItemRef", ItemOID=f"IT.{dataset.name}.{column}", OrderNumber=str(place), Mandatory=mandatory
        )
        if column in dataset.keys:
            item.set("KeySequence", str(dataset.keys.index(column) + 1))
        if column in _METHODS:
            item.set("MethodOID", f"MT.{column}")
    ET.SubElement(group, f"{{{_DEF}}}Class", {"Name": dataset.kind})
    leaf = ET.SubElement(group, f"{{{_DEF}}}leaf", {"ID": f"LF.{dataset.name}", f"{{{_XLINK}}}href": dataset.file})
    ET.SubElement(leaf, f"{{{_DEF}}}title").text = dataset.file


def _item(version: ET.Element, dataset: DataSet, column: str) -> None:
    item = _add(version, "ItemDef", OID=f"IT.{dataset.name}.{column}", Name=column, SASFieldName=column)
    for name, value in _type([record.get(column) for record in dataset.records]).items():
        item.set(name, value)
    _described(item, dataset.labels.get(column) or column)
    codes = _codes(dataset, column)
    if codes:
        _add(item, "CodeListRef", CodeListOID=codes)
    kind = "Derived" if column in _METHODS else "Assigned" if column in _ASSIGNED else "Predecessor"
    origin = ET.SubElement(item, f"{{{_DEF}}}Origin", {"Type": kind})
    if kind == "Predecessor":
        _described(origin, _PREDECESSORS.get(column, _FROM_VISITS))
    else:
        origin.set("Source", "Sponsor")


def _type(values: Sequence[Cell]) -> dict[str, str]:
    """DataType, Length, and for decimal numbers SignificantDigits, from the values themselves."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        longest = max((len(str(value)) for value in values if value is not None), default=1)
        return {"DataType": "text", "Length": str(max(1, longest))}
    texts = [repr(value) for value in numbers]
    length = str(max(len(text) for text in texts))
    if all(isinstance(value, int) for value in numbers):
        return {"DataType": "integer", "Length": length}
    digits = max(len(text.partition(".")[2].partition("e")[0]) for text in texts)
    return {"DataType": "float", "Length": length, "SignificantDigits": str(max(1, digits))}


def _codes(dataset: DataSet, column: str) -> str:
    """Identifier of the code list of a column; empty without one."""
    if column == "PARAMCD":
        return f"CL.PARAMCD.{dataset.name}"
    return "CL.NY" if column.endswith("FL") else ""


def _codelists(version: ET.Element, datasets: Sequence[DataSet]) -> None:
    lists = {"CL.NY": ("No or yes", {"N": "No", "Y": "Yes"})}
    for dataset in datasets:
        if "PARAMCD" in dataset.columns:
            pairs = {str(record["PARAMCD"]): str(record["PARAM"]) for record in dataset.records}
            lists[f"CL.PARAMCD.{dataset.name}"] = (f"Parameters of {dataset.name}", pairs)
    used = {_codes(dataset, column) for dataset in datasets for column in dataset.columns}
    for oid, (name, pairs) in lists.items():
        if oid not in used or not pairs:
            continue
        made = _add(version, "CodeList", OID=oid, Name=name, DataType="text")
        made.set(f"{{{_DEF}}}IsNonStandard", "Yes")
        for code, text in pairs.items():
            _translated(_add(_add(made, "CodeListItem", CodedValue=code), "Decode"), text)


def _add(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, f"{{{_ODM}}}{name}", attributes)


def _described(parent: ET.Element, text: str) -> None:
    _translated(_add(parent, "Description"), text)


def _translated(parent: ET.Element, text: str) -> None:
    made = _add(parent, "TranslatedText")
    made.set(f"{{{_XML}}}lang", "en")
    made.text = text
