package main

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	chartWidth, chartHeight = 25 * vg.Centimeter, 14 * vg.Centimeter
	chartMargin             = 0.4 * vg.Centimeter
	legendRoom              = 3.5 * vg.Centimeter // right of the data
)

// colors are the palette of Okabe and Ito ("Color universal design", 2008) without its yellow, which is invisible on
// white, and three colors of Paul Tol. They differ in lightness as well as in hue.
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, // blue
	color.RGBA{0x00, 0x00, 0x00, 0xff}, // black
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	color.RGBA{0x00, 0x9e, 0x73, 0xff}, // green
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, // pink
	color.RGBA{0xe6, 0x9f, 0x00, 0xff}, // orange
	color.RGBA{0x56, 0xb4, 0xe9, 0xff}, // sky blue
	color.RGBA{0x88, 0x22, 0x55, 0xff}, // wine
	color.RGBA{0x99, 0x99, 0x33, 0xff}, // olive
	color.RGBA{0x66, 0x66, 0x66, 0xff}, // grey
}

// spread is a value y at x, with an error bar from low to high.
type spread struct{ x, y, low, high float64 }

// spreads implements plotter.XYer and plotter.YErrorer.
type spreads []spread

func (s spreads) Len() int                         { return len(s) }
func (s spreads) XY(i int) (x, y float64)          { return s[i].x, s[i].y }
func (s spreads) YError(i int) (low, high float64) { return s[i].y - s[i].low, s[i].high - s[i].y }

// chart is a plot with a legend to its right. The background is white, so that the chart is readable on a dark page too.
type chart struct {
	title  string
	plot   *plot.Plot
	legend plot.Legend
	xs     []float64 // The labels of a logarithmic X axis.
	points int       // The points that were added.
}

func newChart(title string) *chart {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	c := &chart{title: title, plot: plot.New(), legend: plot.NewLegend()}
	c.plot.Title.Text = title
	c.plot.Title.Padding = chartMargin
	c.legend.Top, c.legend.Left, c.legend.YPosition = true, true, draw.PosCenter
	c.legend.ThumbnailWidth, c.legend.Padding = vg.Centimeter, vg.Points(3)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xdd}, color.Gray{0xdd}
	c.plot.Add(grid)
	return c
}

// titleY writes the title of the Y axis horizontally below the chart's title. gonum/plot misplaces the label of a
// logarithmic axis.
func (c *chart) titleY(title string) { c.plot.Title.Text += "\n" + title }

// linearY makes the Y axis linear and begin at 0.
func (c *chart) linearY(title string) {
	c.titleY(title)
	c.plot.Y.Min = 0
}

// logY makes the Y axis logarithmic. It begins and ends at a power of ten.
func (c *chart) logY(title string) {
	c.titleY(title)
	c.plot.Y.Scale = plot.LogScale{}
	c.plot.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		return labelled(plot.LogTicks{Prec: -1}.Ticks(low, high))
	})
}

// logX makes the X axis logarithmic, with a label at each X of a point.
func (c *chart) logX(title string) {
	c.plot.X.Label.Text = title
	c.plot.X.Scale = plot.LogScale{}
	c.plot.X.Tick.Marker = plot.TickerFunc(func(float64, float64) []plot.Tick {
		var ticks []plot.Tick
		for _, x := range slices.Compact(slices.Sorted(slices.Values(c.xs))) {
			ticks = append(ticks, plot.Tick{Value: x, Label: number(x)})
		}
		return ticks
	})
}

// labelled formats labels as the tables do.
func labelled(ticks []plot.Tick) []plot.Tick {
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = number(ticks[i].Value)
		}
	}
	return ticks
}

// addLine adds a line through points in the i-th style. A series without points is left out of the legend too.
func (c *chart) addLine(i int, name string, points []spread) {
	points = c.drawable(points)
	if len(points) == 0 {
		return
	}
	line := &plotter.Line{XYs: plotter.XYs{}, LineStyle: plotter.DefaultLineStyle}
	for _, p := range points {
		line.XYs = append(line.XYs, plotter.XY{X: p.x, Y: p.y})
		c.xs = append(c.xs, p.x)
	}
	line.Color, line.Dashes, line.Width = colors[i%len(colors)], plotutil.Dashes(i/5), vg.Points(1.5)
	c.plot.Add(line)
	c.legend.Add(name, line, c.addMarkers(i, points))
}

// addPoints adds points without a line in the i-th style.
func (c *chart) addPoints(i int, name string, points []spread) {
	if points = c.drawable(points); len(points) == 0 {
		return
	}
	markers := c.addMarkers(i, points)
	if name != "" {
		c.legend.Add(name, markers)
	}
}

// addMarkers adds a marker and an error bar at each point.
func (c *chart) addMarkers(i int, points []spread) *plotter.Scatter {
	markers := &plotter.Scatter{GlyphStyle: plotter.DefaultGlyphStyle}
	for _, p := range points {
		markers.XYs = append(markers.XYs, plotter.XY{X: p.x, Y: p.y})
	}
	markers.Color, markers.Shape, markers.Radius = colors[i%len(colors)], plotutil.Shape(i), vg.Points(3.5)
	bars, err := plotter.NewYErrorBars(spreads(points))
	if err != nil {
		panic(err) // For values that are not finite, which drawable has removed.
	}
	bars.Color = colors[i%len(colors)]
	c.plot.Add(bars, markers)
	c.points += len(points)
	return markers
}

// drawable returns the points that can be drawn: finite ones, and on a logarithmic Y axis only those above 0.
func (c *chart) drawable(points []spread) []spread {
	_, isLog := c.plot.Y.Scale.(plot.LogScale)
	var shown []spread
	for _, p := range points {
		sum := p.x + p.y + p.low + p.high
		if !math.IsNaN(sum) && !math.IsInf(sum, 0) && (!isLog || p.low > 0) {
			shown = append(shown, p)
		}
	}
	return shown
}

// orNil returns c, or nil if no points were added. It extends a logarithmic Y axis to powers of ten.
func (c *chart) orNil() *chart {
	if c.points == 0 {
		return nil
	}
	if _, isLog := c.plot.Y.Scale.(plot.LogScale); isLog {
		low, high := math.Floor(math.Log10(c.plot.Y.Min)), math.Ceil(math.Log10(c.plot.Y.Max))
		c.plot.Y.Min, c.plot.Y.Max = math.Pow(10, low), math.Pow(10, max(high, low+1))
	}
	return c
}

// drawTo draws the plot with the legend to its right.
func (c *chart) drawTo(canvas draw.Canvas) {
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path())
	canvas = draw.Crop(canvas, chartMargin, -chartMargin, chartMargin, -chartMargin)
	c.plot.Draw(draw.Crop(canvas, 0, -legendRoom, 0, 0))
	right := canvas.Max.X - canvas.Min.X - legendRoom + chartMargin
	c.legend.Draw(draw.Crop(canvas, right, 0, 0, -2*chartMargin))
}
