"""To and from the hospital's own archive: DICOMweb, and a C-STORE node that measures what it is sent.

::

    dicomweb     `pull` a series or study, `push` files
    inbox        received instances on the disk, study by study, and when a study is whole
    syntaxes     the uncompressed form, for an archive that refuses the one written
    extra        whether the libraries for it are installed
    receive      the C-STORE node: receives, measures, sends back
    tls          certificates of such associations

The DICOM network libraries are the extra ``archive``; nothing is imported here.
"""
