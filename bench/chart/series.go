package chart

import (
	gochart "github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

// style is how a series looks: of the first ten no two have the colour in common, nor
// both marker and dashes.
type style struct {
	color  drawing.Color
	marker marker
	dashes []float64
}

// marker draws a shape around a point.
type marker func(r gochart.Renderer, x, y int)

// The colours of Okabe and Ito ("Color universal design", 2008), without the yellow,
// which cannot be seen on white, and with three of Paul Tol's.
var (
	colors = []drawing.Color{
		drawing.ColorFromHex("0072B2"), // blue
		drawing.ColorFromHex("000000"), // black
		drawing.ColorFromHex("D55E00"), // vermilion
		drawing.ColorFromHex("009E73"), // green
		drawing.ColorFromHex("CC79A7"), // pink
		drawing.ColorFromHex("E69F00"), // orange
		drawing.ColorFromHex("56B4E9"), // sky blue
		drawing.ColorFromHex("882255"), // wine
		drawing.ColorFromHex("999933"), // olive
		drawing.ColorFromHex("666666"), // grey
	}
	markers = []marker{disc, square, triangle, diamond, inverted}
	dashes  = [][]float64{nil, {7, 4}, {2, 3}}
)

func styleOf(i int) style {
	return style{
		color:  colors[i%len(colors)],
		marker: markers[i%len(markers)],
		dashes: dashes[i/len(markers)%len(dashes)],
	}
}

// radius is half a marker's size.
const radius = 5

func disc(r gochart.Renderer, x, y int)     { r.Circle(radius, x, y) }
func square(r gochart.Renderer, x, y int)   { polygon(r, x, y, -4, -4, 4, -4, 4, 4, -4, 4) }
func triangle(r gochart.Renderer, x, y int) { polygon(r, x, y, 0, -6, 6, 4, -6, 4) }
func diamond(r gochart.Renderer, x, y int)  { polygon(r, x, y, 0, -6, 6, 0, 0, 6, -6, 0) }
func inverted(r gochart.Renderer, x, y int) { polygon(r, x, y, 0, 6, 6, -4, -6, -4) }

// polygon takes the corners as pairs of distances from x, y.
func polygon(r gochart.Renderer, x, y int, corners ...int) {
	r.MoveTo(x+corners[0], y+corners[1])
	for i := 2; i < len(corners); i += 2 {
		r.LineTo(x+corners[i], y+corners[i+1])
	}
	r.Close()
}

func (s style) drawMarker(r gochart.Renderer, x, y int) {
	r.SetStrokeColor(s.color)
	r.SetStrokeWidth(1)
	r.SetStrokeDashArray(nil)
	r.SetFillColor(s.color)
	s.marker(r, x, y)
	r.FillStroke()
}

// setLine makes the renderer draw this series' line.
func (s style) setLine(r gochart.Renderer, width float64) {
	r.SetFillColor(drawing.ColorTransparent)
	r.SetStrokeColor(s.color)
	r.SetStrokeWidth(width)
	r.SetStrokeDashArray(s.dashes)
}

// line is a series in its span. It implements [gochart.Series].
type line struct {
	Series
	x, y  *span
	shift int // pixels to the right
	style style
}

// GetName returns the name.
func (l line) GetName() string { return l.Name }

// GetYAxis returns the only one that there is.
func (line) GetYAxis() gochart.YAxisType { return gochart.YAxisPrimary }

// GetStyle returns nothing: the style is in the series.
func (line) GetStyle() gochart.Style { return gochart.Style{} }

// Validate returns nil: all series are valid.
func (line) Validate() error { return nil }

// Render draws the series.
func (l line) Render(r gochart.Renderer, canvas gochart.Box, _, _ gochart.Range, _ gochart.Style) {
	defer r.ResetStyle()
	if len(l.Points) == 0 {
		return
	}
	connected := l.x.axis.Scale != Categories
	if connected {
		l.drawLine(r, canvas)
	}
	if l.Line && connected {
		return
	}
	for _, p := range l.Points {
		if !l.has(p) {
			continue
		}
		x, y := l.at(canvas, p.X, p.Y)
		l.drawSpread(r, canvas, p)
		l.style.drawMarker(r, x, y)
	}
}

func (l line) has(p Point) bool { return l.x.axis.has(p.X) && l.y.axis.has(p.Y) }

// at returns the pixel of a point.
func (l line) at(canvas gochart.Box, x, y float64) (int, int) {
	return canvas.Left + l.x.Translate(x) + l.shift, canvas.Bottom - l.y.Translate(y)
}

// drawLine connects the points that have a place and follow each other.
func (l line) drawLine(r gochart.Renderer, canvas gochart.Box) {
	l.style.setLine(r, 2)
	drawing := false
	for _, p := range l.Points {
		if !l.has(p) {
			drawing = false
			continue
		}
		x, y := l.at(canvas, p.X, p.Y)
		if drawing {
			r.LineTo(x, y)
		} else {
			r.MoveTo(x, y)
		}
		drawing = true
	}
	r.Stroke()
}

// drawSpread draws a bar from the least to the greatest value.
func (l line) drawSpread(r gochart.Renderer, canvas gochart.Box, p Point) {
	if !p.spread(l.y.axis) {
		return
	}
	const cap = 4
	style{color: l.style.color}.setLine(r, 1)
	for _, v := range []float64{p.Low, p.High} {
		x, y := l.at(canvas, p.X, v)
		r.MoveTo(x-cap, y)
		r.LineTo(x+cap, y)
	}
	x, low := l.at(canvas, p.X, p.Low)
	_, high := l.at(canvas, p.X, p.High)
	r.MoveTo(x, low)
	r.LineTo(x, high)
	r.Stroke()
}
