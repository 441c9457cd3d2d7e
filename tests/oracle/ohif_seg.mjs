// By hand, not in the check: a SEG through OHIF's own reader, without a browser. Every label map is written as raw
// bytes (slices feet to head), to be compared with mask.nii.gz voxel for voxel.
//
//   npm install @cornerstonejs/adapters@5.14.0 dcmjs @babel/runtime esbuild
//   npx esbuild ohif_seg.mjs --bundle --platform=node --format=cjs --outfile=seg.cjs --define:import.meta.url='"file:///x"'
//   node -r ./shim.cjs seg.cjs SEG CT_FOLDER OUT        (shim.cjs: globalThis.window, self, document, navigator as stubs)
import fs from "node:fs"; import path from "node:path";
import dcmjs from "dcmjs";
import { adaptersSEG } from "@cornerstonejs/adapters";
import { metaData, imageLoader, cache } from "@cornerstonejs/core";
const [,, segFile, ctDir, out] = process.argv;
const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
dcmjs.log.setLevel?.("error");
const buf = (f) => { const b = fs.readFileSync(f); return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength); };
const cts = fs.readdirSync(ctDir, {recursive:true}).map(f => path.join(ctDir, f)).filter(f => fs.statSync(f).isFile()).flatMap(f => {
  try { const d = DicomMessage.readFile(buf(f), { untilTag: "7FE00010", ignoreErrors: true }); const n = DicomMetaDictionary.naturalizeDataset(d.dict); return n.Modality === "CT" ? [n] : []; } catch (e) { console.error(f, e.message); return []; }
});
cts.sort((a, b) => a.ImagePositionPatient[2] - b.ImagePositionPatient[2]);
const ids = cts.map((c) => "ct:" + c.SOPInstanceUID);
const byId = new Map(ids.map((id, n) => [id, cts[n]]));
const extra = new Map();
const metadataProvider = { get(kind, id) {
  if (extra.has(kind + id)) return extra.get(kind + id);
  const c = byId.get(id); if (!c) return undefined;
  const o = c.ImageOrientationPatient.map(Number);
  switch (kind) {
    case "imagePlaneModule": return { rows: c.Rows, columns: c.Columns, imagePositionPatient: c.ImagePositionPatient.map(Number), rowCosines: o.slice(0,3), columnCosines: o.slice(3), imageOrientationPatient: o, pixelSpacing: c.PixelSpacing, rowPixelSpacing: c.PixelSpacing[0], columnPixelSpacing: c.PixelSpacing[1], frameOfReferenceUID: c.FrameOfReferenceUID, sliceThickness: c.SliceThickness };
    case "generalSeriesModule": return { seriesInstanceUID: c.SeriesInstanceUID, modality: "CT" };
    case "generalImageModule": case "sopCommonModule": return { sopInstanceUID: c.SOPInstanceUID, sopClassUID: c.SOPClassUID };
    case "instance": return c;
    case "frameModule": return { numberOfFrames: 1, frameNumber: 1, sopInstanceUID: c.SOPInstanceUID, sopClassUID: c.SOPClassUID };
    default: return undefined;
  }
}, addInstance(id, instance) { extra.set("instance" + id, instance); }, add(kind, id, v){ extra.set(kind+id, v);} };
(async () => {
metaData.addProvider((kind, id) => metadataProvider.get(kind, id), 10000);
const S = adaptersSEG.Cornerstone3D.Segmentation;
console.log("functions", Object.keys(S));
const r = await S.createFromDICOMSegBuffer(ids, buf(segFile), { metadataProvider });
console.log(Object.keys(r));
for (const s of r.segMetadata.data.filter(Boolean)) console.log("segment", s.SegmentNumber, s.SegmentLabel, s.SegmentedPropertyTypeCodeSequence?.[0]?.CodeMeaning ?? s.SegmentedPropertyTypeCodeSequence?.CodeMeaning);
const maps = r.labelMapImages ?? r.labelmapBufferArray;
console.log("overlapping", r.overlappingSegments, "labelmaps", maps.length);
let stats = {};
maps.forEach((m, k) => {
  const n = m.length && m[0].getPixelData ? m.map((x) => x.getPixelData()) : [new Uint8Array(m)];
  for (const a of n) for (const v of a) if (v) stats[v] = (stats[v] || 0) + 1;
  const all = Buffer.concat(n.map((a) => Buffer.from(Uint8Array.from(a)))); fs.writeFileSync(`${out}-${k}.raw`, all);
  console.log("labelmap", k, "bytes", all.length, "images", n.length);
});
console.log("voxels", stats);
})();
