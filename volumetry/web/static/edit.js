"use strict";
// Changes of a label volume, each of which can be taken back. The volume is seen in patient order: a to the patient's
// left, b to the back, c to the head; `at(a, b, c)` is the place in the array as it came.

const OUTSIDE = 0;
const AERATED = 1;
const FLUID = 5;  // in no lung
const MOST_UNDO = 50;

class Edits {
  constructor(volume, base) {
    this.volume = volume;
    this.labels = volume.labels;
    this.marks = new Uint8Array(volume.labels.length);  // the label that was painted here in an axial slice, or 0
    this.version = 0;
    this.begins(base);
  }

  // From here on, this mask is the one that is edited.
  begins(base) {
    this.base = base;
    this.labels.set(base);
    this.changed = 0;  // voxels with another label than in the base
    this.version++;
    this.done = [];
    this.current = null;
    this.marks.fill(0);
    this.painted = [];  // axial slices in the order in which they were painted last
  }

  // Everything between begin and end is taken back by one undo.
  begin() { this.current = { was: new Map(), painted: this.painted }; }

  // How many voxels took another label, or were painted.
  end() {
    const count = this.current?.was.size ?? 0;
    if (count) this.done.push(this.current);
    if (this.done.length > MOST_UNDO) this.done.shift();
    this.current = null;
    return count;
  }

  put(place, label, mark = this.marks[place]) {
    const [was, marked] = [this.labels[place], this.marks[place]];
    if (was === label && marked === mark) return;
    if (!this.current.was.has(place)) this.current.was.set(place, [was, marked]);
    this.marks[place] = mark;
    if (was !== label) this.set(place, label);
  }

  set(place, label) {
    const own = this.base[place];
    this.changed += (label !== own) - (this.labels[place] !== own);
    this.labels[place] = label;
    this.version++;
  }

  undo() {
    const last = this.done.pop();
    if (!last) return false;
    for (const [place, [was, mark]] of last.was) {
      this.set(place, was);
      this.marks[place] = mark;
    }
    this.painted = last.painted;
    return true;
  }

  // A disc of `radius` mm in the plane across `axis`, around a voxel.
  paint(axis, centre, radius, label, { erase, within }) {
    const { size, step } = this.volume;
    const [u, v] = [0, 1, 2].filter((one) => one !== axis);
    const reach = [u, v].map((one) => Math.floor(radius / step[one]));
    const voxel = [...centre];
    for (let du = -reach[0]; du <= reach[0]; du++)
      for (let dv = -reach[1]; dv <= reach[1]; dv++) {
        voxel[u] = centre[u] + du;
        voxel[v] = centre[v] + dv;
        if ((du * step[u]) ** 2 + (dv * step[v]) ** 2 > radius ** 2) continue;
        if (voxel[u] < 0 || voxel[v] < 0 || voxel[u] >= size[u] || voxel[v] >= size[v]) continue;
        const place = this.volume.at(...voxel);
        const was = this.labels[place];
        if (erase) { if (was === label) this.put(place, label === AERATED || label === FLUID ? OUTSIDE : AERATED); }
        else if (!within || was !== OUTSIDE) this.put(place, label, axis === 2 ? label : this.marks[place]);
      }
    if (axis === 2 && !erase) this.painted = [...this.painted.filter((slice) => slice !== centre[2]), centre[2]].slice(-2);
  }

  // The connected region of one label of lesion, by faces, takes another.
  relabel(start, label) {
    const { size } = this.volume;
    const from = this.labels[this.volume.at(...start)];
    if (from === label || from === OUTSIDE || from === AERATED) return 0;
    const stack = [start];
    this.begin();
    this.put(this.volume.at(...start), label);
    while (stack.length) {
      const voxel = stack.pop();
      for (let axis = 0; axis < 3; axis++)
        for (const by of [-1, 1]) {
          const next = [...voxel];
          next[axis] += by;
          if (next[axis] < 0 || next[axis] >= size[axis]) continue;
          const place = this.volume.at(...next);
          if (this.labels[place] !== from) continue;
          this.put(place, label);
          stack.push(next);
        }
    }
    return this.end();
  }

  // Shape-based interpolation (Raya and Udupa, IEEE Trans Med Imaging 1990;9:32-42): the signed distances to the
  // outline of what was painted in both slices are mixed linearly, and what is inside takes the label. What has the
  // label but was not painted plays no part: a lesion elsewhere in these slices stays as it is.
  fill(label, within) {
    const [low, high] = [...this.painted].sort((one, other) => one - other);
    if (high === undefined || high - low < 2) return 0;
    const [nx, ny] = this.volume.size;
    const ends = [low, high].map((slice) => this.signedDistance(slice, label));
    if (ends.some((end) => end === null)) return 0;
    this.begin();
    for (let c = low + 1; c < high; c++) {
      const share = (c - low) / (high - low);
      for (let b = 0; b < ny; b++)
        for (let a = 0; a < nx; a++) {
          const n = a + nx * b;
          if ((1 - share) * ends[0][n] + share * ends[1][n] <= 0) continue;
          const place = this.volume.at(a, b, c);
          if (!within || this.labels[place] !== OUTSIDE) this.put(place, label);
        }
    }
    return this.end();
  }

  // Positive inside, in thirds of a pixel. Null where nothing of the slice is painted with the label.
  signedDistance(slice, label) {
    const [nx, ny] = this.volume.size;
    const inside = new Uint8Array(nx * ny);
    let any = false;
    for (let b = 0; b < ny; b++)
      for (let a = 0; a < nx; a++) {
        const place = this.volume.at(a, b, slice);
        inside[a + nx * b] = this.labels[place] === label && this.marks[place] === label ? 1 : 0;
        any ||= inside[a + nx * b] === 1;
      }
    if (!any) return null;
    const out = chamfer(inside, nx, ny, 0);
    const within = chamfer(inside, nx, ny, 1);
    return out.map((_, n) => (inside[n] ? within[n] - 1.5 : 1.5 - out[n]));
  }

  // In an axial slice, a pixel has the label if most of its 3 x 3 neighbours have it; one that loses it takes the
  // most frequent other label around it. Within the mask, nothing joins the mask and nothing leaves it.
  smooth(slice, label, within) {
    const [nx, ny] = this.volume.size;
    const before = new Uint8Array(nx * ny);
    for (let b = 0; b < ny; b++) for (let a = 0; a < nx; a++) before[a + nx * b] = this.labels[this.volume.at(a, b, slice)];
    this.begin();
    for (let b = 1; b < ny - 1; b++)
      for (let a = 1; a < nx - 1; a++) {
        const counts = [0, 0, 0, 0, 0, 0];
        for (let db = -1; db <= 1; db++) for (let da = -1; da <= 1; da++) counts[before[a + da + nx * (b + db)]]++;
        const has = before[a + nx * b] === label;
        if (within) counts[OUTSIDE] = 0;
        if (!has && counts[label] > 4 && !(within && before[a + nx * b] === OUTSIDE)) this.put(this.volume.at(a, b, slice), label);
        if (has && counts[label] < 5) {
          counts[label] = 0;
          const most = Math.max(...counts);
          if (most > 0) this.put(this.volume.at(a, b, slice), counts.indexOf(most));
        }
      }
    return this.end();
  }
}

// Chamfer 3-4 distance of every pixel to the nearest one of `value`, in thirds of a pixel.
function chamfer(inside, nx, ny, kept) {
  const far = 4 * (nx + ny);
  const distance = Float32Array.from(inside, (one) => (one === kept ? far : 0));
  const pass = (as, bs, steps) => {
    for (const b of bs) for (const a of as) {
      const n = a + nx * b;
      for (const [da, db, cost] of steps) {
        const [x, y] = [a + da, b + db];
        if (x >= 0 && y >= 0 && x < nx && y < ny) distance[n] = Math.min(distance[n], distance[x + nx * y] + cost);
      }
    }
  };
  const up = (count) => Array.from({ length: count }, (_, n) => n);
  const before = [[-1, 0, 3], [0, -1, 3], [-1, -1, 4], [1, -1, 4]];
  pass(up(nx), up(ny), before);
  pass(up(nx).reverse(), up(ny).reverse(), before.map(([da, db, cost]) => [-da, -db, cost]));
  return distance;
}
