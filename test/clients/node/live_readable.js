'use strict';

// What the live page owes to those who read it, with eyes or without.

// contrasts, in the page, are those below what WCAG 2.2 wants: 4.5 for text (1.4.3), 3 for the edges of
// what can be filled in or pressed, and for the line of a graph (1.4.11).
function contrasts() {
  const parse = (s) => {
    const [r, g, b, a = 1] = s.match(/[\d.]+/g).map(Number);
    return s.startsWith('color(') ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
  const ground = (e) => {
    if (!e) return [255, 255, 255];
    const style = getComputedStyle(e);
    const below = over(parse(style.backgroundColor), ground(e.parentElement));
    const gradient = style.backgroundImage.match(/(rgba?|color)\([^)]*\)/);
    return gradient ? over(parse(gradient[0]), below) : below;
  };
  const opacity = (e) => (e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1);
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (e, color, under) => {
    const [r, g, b, a] = parse(color);
    const [high, low] = [light(over([r, g, b, a * opacity(e)], under)), light(under)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('script, style, .hidden') || e.disabled) continue;
    const style = getComputedStyle(e);
    const name = `${e.tagName} ${e.id || e.className || e.textContent.slice(0, 20)}`;
    const text = [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const want = (min, color, under, what) => {
      const got = ratio(e, color, under);
      if (got < min) poor.push(`${name}: ${what} ${got.toFixed(2)}`);
    };
    if (text || e.tagName === 'INPUT') want(4.5, style.color, ground(e), 'text');
    if (/^(INPUT|BUTTON)$/.test(e.tagName)) want(3, style.borderTopColor, ground(e.parentElement), 'edge');
    if (e.classList.contains('line')) want(3, style.stroke, ground(e.parentElement), 'line');
  }
  return [...new Set(poor)];
}

// nameless, in the page, is what a screen reader has no name for.
function nameless() {
  const wrong = [];
  for (const e of document.querySelectorAll('button, input, section, dialog, table')) {
    const by = e.getAttribute('aria-labelledby');
    const name = e.getAttribute('aria-label') ?? (by ? document.getElementById(by).textContent : e.labels?.[0]?.textContent ?? e.textContent);
    if (!name.trim()) wrong.push(e.outerHTML.slice(0, 80));
  }
  for (const th of document.querySelectorAll('th')) if (th.scope !== 'col' || !th.textContent) wrong.push(th.outerHTML);
  for (const svg of document.querySelectorAll('svg:not([aria-hidden=true])')) wrong.push(svg.id);
  if (!document.documentElement.lang) wrong.push('lang');
  return wrong;
}

// holes, in the page, are rows of the two grids that do not reach from one edge to the other.
function holes() {
  const wrong = [];
  for (const grid of document.querySelectorAll('.tiles, .tables')) {
    const rows = new Map();
    for (const e of grid.children) {
      if (!e.checkVisibility()) continue;
      const { left, right, top } = e.getBoundingClientRect();
      const row = rows.get(Math.round(top)) ?? { left, right };
      rows.set(Math.round(top), { left: Math.min(row.left, left), right: Math.max(row.right, right) });
    }
    const { left, right } = grid.getBoundingClientRect();
    for (const [top, row] of rows) if (row.left > left + 1 || row.right < right - 1) wrong.push(`${grid.className} at ${top}`);
  }
  return wrong;
}

// broken, in the page, are figures that take more than one line.
function broken() {
  return [...document.querySelectorAll('.big, dd, td.number, .peak')].filter((e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    return new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1;
  }).map((e) => e.id || e.textContent);
}

module.exports = { contrasts, nameless, holes, broken };
