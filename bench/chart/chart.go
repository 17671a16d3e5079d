package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	gochart "github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

// Chart is one picture. The zero value is an empty one.
type Chart struct {
	Title  string
	X, Y   Axis
	Series []Series // Each has the colour of its place, also if others are empty.
}

// Axis says what one direction means.
type Axis struct {
	Title  string // what it is, with its unit: "latency [ms]"
	Scale  Scale
	Labels []string // Categories only: what 0, 1, 2 ... stand for
}

// Scale is how values are spread over an axis.
type Scale int

// The scales.
const (
	// Linear goes on from 0.
	Linear Scale = iota
	// Log gives each decade the same room. Values of 0 and below have no place on it.
	Log
	// Percentile is for quantiles from 0 to 1, spaced by 1/(1-q), as HdrHistogram plots
	// them: 90 %, 99 % and 99.9 % are equally far apart. 1 has no place on it.
	Percentile
	// Categories is for X only: the values are places in Axis.Labels. Points are not
	// connected, and those of several series stand side by side.
	Categories
)

// Series is a line through points, in their order.
type Series struct {
	Name   string // in the legend; with no name or no point it is not there
	Points []Point
	Line   bool // without markers, for a curve of many points
}

// Point is one value. What is NaN or infinite or has no place on its axis is left out,
// and interrupts the line.
type Point struct {
	X, Y      float64
	Low, High float64 // spread of Y, drawn if High > Low
}

// The size of a picture in pixels; SVG scales.
const (
	width  = 960
	height = 540
)

// Check tells whether Save can write a file of this name: an error names the extension
// if it is neither .svg nor .png. It does not touch the file.
func Check(file string) error {
	_, err := rendererFor(file)
	return err
}

// Save draws the chart and writes it to a file, as SVG or PNG after its extension.
func (c *Chart) Save(file string) error {
	renderer, err := rendererFor(file)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := c.build().Render(renderer, &b); err != nil {
		return fmt.Errorf("chart: %s: %w", file, err)
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func rendererFor(file string) (gochart.RendererProvider, error) {
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".svg":
		return newSVG, nil
	case ".png":
		return newPNG, nil
	default:
		return nil, fmt.Errorf("chart: %q: the extension must be .svg or .png, not %q", file, ext)
	}
}

// pen is go-chart's renderer with its faults mended.
type pen struct {
	gochart.Renderer
	escape bool // text goes into XML
	size   float64
}

func newSVG(width, height int) (gochart.Renderer, error) {
	r, err := gochart.SVG(width, height)
	return &pen{Renderer: r, escape: true}, err
}

func newPNG(width, height int) (gochart.Renderer, error) {
	r, err := gochart.PNG(width, height)
	return &pen{Renderer: r}, err
}

// SetFontSize implements [gochart.Renderer].
func (p *pen) SetFontSize(points float64) {
	p.size = points
	p.Renderer.SetFontSize(points)
}

// MeasureText returns the same height for all texts of a size. That of the PNG renderer
// depends on the letters, so that labels do not stand on one line.
func (p *pen) MeasureText(body string) gochart.Box {
	b := p.Renderer.MeasureText(body)
	b.Bottom = b.Top + int(drawing.PointsToPixels(p.GetDPI(), p.size))
	return b
}

// Text draws a text. The SVG renderer does not escape it.
func (p *pen) Text(body string, x, y int) {
	if p.escape {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(body)) // a Builder takes everything
		body = b.String()
	}
	p.Renderer.Text(body, x, y)
}

// build says all this in go-chart's words.
func (c *Chart) build() gochart.Chart {
	x, y := c.spans()
	f := &frame{chart: c, x: x, y: y}
	g := gochart.Chart{
		Width: width, Height: height,
		Background: gochart.Style{Padding: f.padding()},
		XAxis: gochart.XAxis{
			Name: c.X.Title, NameStyle: titleStyle, Style: axisStyle,
			Range: x, Ticks: x.labelled(), GridLines: x.grid(),
		},
		YAxis: gochart.YAxis{
			// This stands on the left; the primary one stands on the right.
			AxisType: gochart.YAxisSecondary, Style: axisStyle,
			Range: y, Ticks: y.labelled(), GridLines: y.grid(),
		},
		YAxisSecondary: gochart.YAxis{Style: gochart.Hidden()},
		Elements:       []gochart.Renderable{f.titles, f.legend, f.note},
		Series:         []gochart.Series{line{}}, // one at least is asked for
	}
	for i, s := range c.Series {
		g.Series = append(g.Series, line{Series: s, x: x, y: y, shift: c.shift(i), style: styleOf(i)})
	}
	return g
}

// spans returns the axes' spans, wide enough for all points that can be drawn.
func (c *Chart) spans() (x, y *span) {
	var xs, ys []float64
	for _, s := range c.Series {
		for _, p := range s.Points {
			if !c.X.has(p.X) || !c.Y.has(p.Y) {
				continue
			}
			xs, ys = append(xs, p.X), append(ys, p.Y)
			if p.spread(c.Y) {
				ys = append(ys, p.Low, p.High)
			}
		}
	}
	return newSpan(c.X, xs), newSpan(c.Y, ys)
}

// spread tells whether there is one that can be drawn.
func (p Point) spread(y Axis) bool {
	return p.High > p.Low && y.has(p.Low) && y.has(p.High)
}

// shift returns how far to the right the points of the i-th series stand.
func (c *Chart) shift(i int) int {
	const apart = 14
	if c.X.Scale != Categories {
		return 0
	}
	return int(math.Round(apart * (float64(i) - float64(len(c.Series)-1)/2)))
}
