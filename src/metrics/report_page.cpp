#include "metrics/report_page.h"

namespace grpo::inline GRPO_ABI {
namespace {

// Colours of Okabe and Ito, which people with any kind of colour vision tell apart.
constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1c2430; --soft: #667085; --rule: #dde1e7;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #56b4e9; --c5: #e69f00; --c6: #7a5195; --c7: #5c6670; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14181f; --card: #1d232c; --text: #e6e9ee; --soft: #98a2b3; --rule: #333c48;
    --c0: #4aa8e0; --c1: #f08a4b; --c2: #3cc79b; --c3: #e09ac3; --c4: #8fd0f5; --c5: #f2bd4b; --c6: #b18bd0; --c7: #a3adb8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 1rem clamp(.75rem, 3vw, 2.5rem) 3rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .5rem 0 1rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .75rem; }
h3 { font-size: .95rem; margin: 1.5rem 0 .5rem; color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 0 1rem; }
.tiles div { background: var(--card); border-radius: 8px; padding: .5rem .9rem; }
.tiles dt { color: var(--soft); font-size: .8rem; } .tiles dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 1rem; }
figure { position: relative; margin: 0; background: var(--card); border-radius: 8px; padding: .7rem .8rem .4rem; break-inside: avoid; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .82rem; color: var(--soft); }
figcaption b { color: var(--text); font-size: .92rem; width: 100%; }
figcaption i { display: inline-block; width: .8rem; height: .2rem; margin-right: .35rem; vertical-align: middle; background: var(--c); }
.chart { display: block; width: 100%; height: auto; touch-action: pan-y; }
.chart text { fill: var(--soft); font-size: 11px; } .grid, .cursor { stroke: var(--rule); stroke-width: 1; } .cursor { stroke: var(--soft); } [hidden] { display: none; }
.c0 { --c: var(--c0) } .c1 { --c: var(--c1) } .c2 { --c: var(--c2) } .c3 { --c: var(--c3) }
.c4 { --c: var(--c4) } .c5 { --c: var(--c5) } .c6 { --c: var(--c6) } .c7 { --c: var(--c7) }
path { fill: none; stroke: var(--c); stroke-linejoin: round; } .line { stroke-width: 1.8; } .raw { stroke-width: 1; opacity: .3; }
.band { fill: var(--c); stroke: none; opacity: .12; } circle { fill: var(--c); }
output { position: absolute; top: 2.6rem; padding: .3rem .6rem; border-radius: 6px; background: var(--back); border: 1px solid var(--rule);
  font-size: .78rem; pointer-events: none; white-space: pre; z-index: 1; }
pre { margin: 0; white-space: pre-wrap; font: 13px/1.45 ui-monospace, monospace; }
article, .prompt, details { background: var(--card); border-radius: 8px; padding: .6rem .8rem; margin: .5rem 0; }
.prompt { border-left: 3px solid var(--c0); margin-top: 1rem; } article { margin-left: clamp(0rem, 2vw, 1.2rem); }
.facts { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .4rem 0 0; font-size: .82rem; color: var(--soft); } .facts b { color: var(--text); } .facts i { opacity: .8; }
b.good { color: var(--c2); } b.bad { color: var(--c1); } b.think { color: var(--c6); } b.answer { color: var(--c2); }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto; } th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--rule); }
td + td { font-variant-numeric: tabular-nums; } summary { cursor: pointer; font-weight: 600; } footer { margin-top: 2rem; color: var(--soft); font-size: .82rem; }
@media print { :root { --back: #fff; --card: #fff; --text: #000; --soft: #444; --rule: #bbb; } body { max-width: none; padding: 0; font-size: 11px; }
  .charts { grid-template-columns: 1fr 1fr; } output { display: none; } }
)css";

// Values under the pointer. The page is whole without it.
constexpr const char* kScript = R"js(
const charts = JSON.parse(document.getElementById('data').textContent);
document.querySelectorAll('figure').forEach((figure, number) => {
  const chart = charts[number], svg = figure.querySelector('svg'), cursor = figure.querySelector('.cursor');
  const output = figure.querySelector('output'), width = svg.viewBox.baseVal.width;
  const [from, left] = chart.from, [to, right] = chart.to;
  const show = v => chart.share ? (100 * v).toPrecision(3) + ' %' : Math.abs(v) < 1e-3 && v !== 0 ? v.toExponential(2) : +v.toPrecision(4);
  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (steps[middle] < step) low = middle; else high = middle; }
    return step - steps[low] < steps[high] - step ? low : high;
  };
  const hide = () => { cursor.setAttribute('hidden', ''); output.hidden = true; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    if (share < left || share > right) return hide();
    const wanted = from + (share - left) / (right - left) * (to - from);
    const first = chart.series[0].steps, step = first[nearest(first, wanted)];
    const x = (left + (step - from) / (to - from) * (right - left)) * width;
    cursor.setAttribute('x1', x); cursor.setAttribute('x2', x); cursor.removeAttribute('hidden');
    output.textContent = 'step ' + step + chart.series.map(s => '\n' + s.label + '  ' + show(s.values[nearest(s.steps, step)])).join('');
    output.hidden = false;
    const beside = share < 0.5;
    output.style.left = beside ? share * 100 + 6 + '%' : ''; output.style.right = beside ? '' : (1 - share) * 100 + 6 + '%';
  });
});
)js";

}  // namespace

std::string report_page(const std::string& title, const std::string& body, const std::string& data) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>" +
         title + "</title>\n<style>" + kStyle + "</style></head>\n<body>\n<h1>" + title + "</h1>\n" + body +
         "\n<footer>Thin lines: steps, or means of neighbouring steps inside the band of their extremes; thick lines: "
         "running means. Made by grpo report.</footer>\n<script type=\"application/json\" id=\"data\">" +
         data + "</script>\n<script>" + kScript + "</script>\n</body>\n</html>\n";
}

}  // namespace grpo::inline GRPO_ABI
