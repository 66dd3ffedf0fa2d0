// Small plots on a canvas: lines over time with a band behind them, and histograms. No library: the page needs two kinds.

const STYLE = { text: "#98a5b3", grid: "#323b45", font: "11px system-ui, sans-serif" };
const MARGIN = { left: 40, right: 8, top: 16, bottom: 18 };

/** A step of 1, 2 or 5 times a power of ten that divides a range into at most `count` parts. */
export function niceStep(range, count) {
  const raw = range / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9));
}

const rounded = (value, step) => String(Number((Math.round(value / step) * step).toPrecision(6)));

function begin(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = STYLE.font;
  const box = {
    left: MARGIN.left, top: MARGIN.top, right: width - MARGIN.right, bottom: height - MARGIN.bottom,
  };
  return { pen, box };
}

function axes(pen, box, x, y, xLabel) {
  pen.fillStyle = STYLE.text;
  pen.strokeStyle = STYLE.grid;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const stepY = niceStep(y.high - y.low, 4);
  for (let value = Math.ceil(y.low / stepY) * stepY; value <= y.high + stepY * 1e-6; value += stepY) {
    const at = y.at(value);
    pen.beginPath(); pen.moveTo(box.left, at); pen.lineTo(box.right, at); pen.stroke();
    pen.fillText(rounded(value, stepY), box.left - 4, at);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  const stepX = niceStep(x.high - x.low, 5);
  for (let value = Math.ceil(x.low / stepX) * stepX; value <= x.high + stepX * 1e-6; value += stepX) {
    pen.fillText(xLabel(rounded(value, stepX)), Math.min(x.at(value), box.right - 14), box.bottom + 3);
  }
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return { low, high: low + span, at: (value) => from + ((value - low) / span) * (to - from) };
}

function legend(pen, box, entries) {
  pen.textAlign = "left";
  pen.textBaseline = "top";
  let at = box.left;
  for (const { label, colour } of entries) {
    pen.fillStyle = colour;
    pen.fillRect(at, 4, 8, 8);
    pen.fillText(label, at + 11, 2);
    at += 20 + pen.measureText(label).width;
  }
}

function nothing(pen, box) {
  pen.fillStyle = STYLE.text;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText("nothing yet", (box.left + box.right) / 2, (box.top + box.bottom) / 2);
}

/**
 * Lines over minutes before now.
 * @param {HTMLCanvasElement} canvas
 * @param {{label: string, colour: string, points: [number, number|null][], dots?: boolean}[]} series
 * @param {{band?: [number, number, number], bandLabel?: string, low?: number, high?: number}} options
 */
export function linePlot(canvas, series, { band, bandLabel = "base", low, high } = {}) {
  const { pen, box } = begin(canvas);
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter((value) => value != null);
  const times = series.flatMap(({ points }) => points.map(([time]) => time));
  if (!values.length) { nothing(pen, box); return; }
  const all = band ? [...values, band[0], band[2]] : values;
  const top = high ?? Math.max(...all);
  const bottom = low ?? Math.min(...all);
  const room = (top - bottom || Math.abs(top) || 1) * 0.06;
  const y = scale(low ?? bottom - room, high ?? top + room, box.bottom, box.top);
  const x = scale(Math.min(...times, -1), 0, box.left, box.right);
  axes(pen, box, x, y, (text) => (Number(text) ? `${text} min` : "now"));
  if (band) {
    pen.fillStyle = "#6ea8fe33";
    pen.fillRect(box.left, y.at(band[2]), box.right - box.left, y.at(band[0]) - y.at(band[2]));
    pen.strokeStyle = "#6ea8fe";
    pen.setLineDash([4, 4]);
    pen.beginPath(); pen.moveTo(box.left, y.at(band[1])); pen.lineTo(box.right, y.at(band[1])); pen.stroke();
    pen.setLineDash([]);
  }
  for (const { colour, points, dots } of series) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1.6;
    pen.beginPath();
    let pending = true;
    for (const [time, value] of points) {
      if (value == null) { pending = true; continue; }
      if (dots) { pen.fillRect(x.at(time) - 1.5, y.at(value) - 1.5, 3, 3); continue; }
      if (pending) pen.moveTo(x.at(time), y.at(value)); else pen.lineTo(x.at(time), y.at(value));
      pending = false;
    }
    pen.stroke();
  }
  legend(pen, box, [...series, ...(band ? [{ label: `${bandLabel} (95 %)`, colour: "#6ea8fe" }] : [])]);
}

/**
 * Histograms of several groups over one axis.
 * @param {HTMLCanvasElement} canvas
 * @param {{label: string, colour: string, values: number[]}[]} groups
 */
export function histogram(canvas, groups, bins = 24) {
  const { pen, box } = begin(canvas);
  const all = groups.flatMap(({ values }) => values);
  if (!all.length) { nothing(pen, box); return; }
  const width = niceStep(Math.max(...all) || 1, bins);
  const count = Math.floor(Math.max(...all) / width) + 1;
  const shares = groups.map(({ values }) => {
    const bars = new Array(count).fill(0);
    for (const value of values) bars[Math.floor(value / width)] += 1 / values.length;
    return bars;
  });
  const x = scale(0, count * width, box.left, box.right);
  const y = scale(0, 100 * Math.max(...shares.flat()), box.bottom, box.top);
  axes(pen, box, x, y, (text) => `${text} s`);
  groups.forEach(({ colour }, index) => {
    pen.fillStyle = `${colour}99`;
    pen.strokeStyle = colour;
    shares[index].forEach((share, bin) => {
      if (!share) return;
      const left = x.at(bin * width), right = x.at((bin + 1) * width), top = y.at(100 * share);
      pen.fillRect(left, top, right - left - 1, box.bottom - top);
      pen.strokeRect(left, top, right - left - 1, box.bottom - top);
    });
  });
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  legend(pen, box, groups.filter(({ values }) => values.length).map(({ label, colour, values }) => (
    { colour, label: `${label} ${median(values).toFixed(1)} s (${values.length})` })));
}
