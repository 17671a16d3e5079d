// Package chart draws measurements: named series of points over two axes, as SVG or PNG.
//
// It is a thin layer over go-chart, which was chosen because it is small, draws SVG and
// PNG by the same calls, and parses its font only when something is drawn, so that a
// program which may draw pays nothing for it until then. go-chart's own axes, legend
// and ranges are replaced: its ticks are not round, it has no percentiles, its legend
// covers the data or runs out of the picture, and a single point or a zero on a
// logarithmic axis makes it fail.
//
// In the order in which a chart passes them:
//
//	chart.go     what to draw, and the file it goes to
//	axis.go      the span of an axis, from values to pixels
//	ticks.go     round numbers and their labels
//	series.go    lines, points, spreads
//	legend.go    what stands around the data: titles and the legend
//
// The background is always white, so that a chart can be read on a dark page too. The
// colours differ in lightness as well as in hue, and each series has a marker of its
// own shape, so that no one has to tell two colours apart.
package chart
