package chart

import (
	gochart "github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

var (
	ink           = drawing.ColorFromHex("24292F")
	axisStyle     = gochart.Style{FontColor: ink, FontSize: 10, StrokeColor: ink, StrokeWidth: 1}
	titleStyle    = gochart.Style{FontColor: ink, FontSize: 10.5}
	gridStyle     = gochart.Style{StrokeColor: drawing.ColorFromHex("D0D7DE"), StrokeWidth: 1}
	weakGridStyle = gochart.Style{StrokeColor: drawing.ColorFromHex("EFF2F5"), StrokeWidth: 1}
)

// The places of what stands around the data, in pixels.
const (
	margin      = 20
	headline    = 30 // baseline of the title
	yTitle      = 58 // baseline of the title of Y
	top         = 72 // of the canvas
	sample      = 34 // length of the line in the legend
	legendGap   = 18 // between the canvas and the legend
	legendSkip  = 22 // from line to line
	headSize    = 13.0
	legendSize  = 10.0
	noPointText = "no points"
)

// frame is what stands around the data.
type frame struct {
	chart *Chart
	x, y  *span
}

// padding returns the room around canvas and labels.
func (f *frame) padding() gochart.Box {
	right := margin
	if w := f.legendWidth(); w > 0 {
		right += w + legendGap
	}
	return gochart.Box{Top: top, Left: margin, Right: right, Bottom: margin, IsSet: true}
}

// legendWidth returns how wide the legend is, or 0 if there is none.
func (f *frame) legendWidth() int {
	font, err := gochart.GetDefaultFont()
	if err != nil {
		return 0 // Render fails with that error, too.
	}
	// Both renderers measure by the same font.
	r, err := gochart.SVG(width, height)
	if err != nil {
		return 0
	}
	r.SetFont(font)
	r.SetFontSize(legendSize)
	widest := 0
	for _, s := range f.chart.Series {
		if f.listed(s) {
			widest = max(widest, sample+8+r.MeasureText(s.Name).Width())
		}
	}
	return widest
}

// listed tells whether a series is in the legend.
func (f *frame) listed(s Series) bool {
	if s.Name == "" {
		return false
	}
	for _, p := range s.Points {
		if f.chart.X.has(p.X) && f.chart.Y.has(p.Y) {
			return true
		}
	}
	return false
}

// legend draws a line for each series, right of the canvas.
func (f *frame) legend(r gochart.Renderer, canvas gochart.Box, defaults gochart.Style) {
	left, y := canvas.Right+legendGap, canvas.Top+8
	for i, s := range f.chart.Series {
		if !f.listed(s) {
			continue
		}
		style := styleOf(i)
		connected := f.chart.X.Scale != Categories
		if connected {
			style.setLine(r, 2)
			r.MoveTo(left, y)
			r.LineTo(left+sample, y)
			r.Stroke()
		}
		if !connected || !s.Line {
			style.drawMarker(r, left+sample/2, y)
		}
		text(r, defaults, legendSize, s.Name, left+sample+8, y+5)
		y += legendSkip
	}
}

// titles draws the headline and the title of Y, which lies above its axis so that
// nobody has to turn the head. go-chart draws that of X.
func (f *frame) titles(r gochart.Renderer, _ gochart.Box, defaults gochart.Style) {
	text(r, defaults, headSize, f.chart.Title, margin, headline)
	text(r, defaults, titleStyle.FontSize, f.chart.Y.Title, margin, yTitle)
}

// note says so where there is nothing to draw.
func (f *frame) note(r gochart.Renderer, canvas gochart.Box, defaults gochart.Style) {
	if f.y.empty {
		text(r, defaults, headSize, noPointText, canvas.Left+canvas.Width()/2-margin, canvas.Top+canvas.Height()/2)
	}
}

// text draws a text that starts at x on the baseline y.
func text(r gochart.Renderer, defaults gochart.Style, size float64, s string, x, y int) {
	if s == "" {
		return
	}
	gochart.Draw.Text(r, s, x, y, gochart.Style{Font: defaults.Font, FontColor: ink, FontSize: size})
}
