/** Bars in groups as an SVG of its own: readable on light and dark pages, no script, no font to load. */
import type { Plot } from "./section.ts";

const colours = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2"] as const;
const barHeight = 14;
const groupGap = 10;
const labelWidth = 130;
const plotWidth = 560;
const valueWidth = 60;
const top = 56;

/** A line is drawn at 1 where the unit is a ratio. */
export function renderSvg({ title, unit, groups }: Plot): string {
  const names = [...new Set(groups.flatMap(({ bars }) => bars.map(({ name }) => name)))];
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ value }) => value)), unit === "×" ? 1 : 0);
  const x = (value: number) => labelWidth + (value / most) * plotWidth;
  const parts: string[] = [];
  let y = top;
  for (const { name, bars } of groups) {
    parts.push(text(labelWidth - 8, y + (bars.length * barHeight) / 2 + 4, name, "end"));
    for (const bar of bars) {
      const width = Math.max(1, x(bar.value) - labelWidth);
      const colour = colours[names.indexOf(bar.name) % colours.length];
      parts.push(`<rect x="${labelWidth}" y="${y}" width="${width.toFixed(1)}" height="${barHeight - 2}" fill="${colour}"/>`);
      parts.push(text(labelWidth + width + 5, y + barHeight - 4, `${formatValue(bar.value)} ${unit}`));
      y += barHeight;
    }
    y += groupGap;
  }
  if (unit === "×") parts.push(`<line x1="${x(1)}" x2="${x(1)}" y1="${top - 6}" y2="${y}" stroke="#888" stroke-dasharray="4 3"/>`);
  const legend = names.map((name, i) => {
    const at = labelWidth + i * 110;
    return `<rect x="${at}" y="30" width="10" height="10" fill="${colours[i % colours.length]}"/>${text(at + 14, 39, name)}`;
  });
  const width = labelWidth + plotWidth + valueWidth;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" font-family="system-ui, sans-serif" font-size="11" fill="#888">
<title>${escapeXml(title)}</title>
${text(8, 18, title)}
${[...legend, ...parts].join("\n")}
</svg>
`;
}

function formatValue(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function text(x: number, y: number, words: string, anchor: "start" | "end" = "start"): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escapeXml(words)}</text>`;
}

function escapeXml(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
