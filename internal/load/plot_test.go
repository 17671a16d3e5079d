package load

import (
	"bytes"
	"encoding/xml"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
	"testing"
)

// slow is a curve from 2 ms to 300 ms, whose last sample is at 99.99 %.
func slow() []sample {
	var samples []sample
	for q := 0.0; q < 0.9999; q += (1 - q) / 8 {
		samples = append(samples, sample{q, 2 * math.Pow(150, -math.Log10(1-q)/4)})
	}
	return append(samples, sample{0.9999, 300})
}

func TestPlotSVG(t *testing.T) {
	var c svgCanvas
	drawPlot(&c, "Latency <&>", "ws://127.0.0.1:18000/?a=1&b=2", slow())
	var b bytes.Buffer
	if err := c.encode(&b); err != nil {
		t.Fatal(err)
	}
	var svg struct {
		Texts     []string `xml:"text"`
		Polylines []struct {
			Points string `xml:"points,attr"`
			Stroke string `xml:"stroke,attr"`
		} `xml:"polyline"`
	}
	if err := xml.Unmarshal(b.Bytes(), &svg); err != nil {
		t.Fatalf("%v\n%s", err, b.Bytes())
	}
	for _, want := range []string{"Latency <&>", "ws://127.0.0.1:18000/?a=1&b=2", "ms", "2", "100", "500", "0 %", "50 %", "99.99 %"} {
		if !slices.Contains(svg.Texts, want) {
			t.Errorf("no text %q, only %q", want, svg.Texts)
		}
	}
	curve := svg.Polylines[len(svg.Polylines)-1]
	points := strings.Fields(curve.Points)
	// The least value is at the bottom left, the greatest quantile on the right.
	if len(points) != len(slow()) || points[0] != "80.0,480.0" || !strings.HasPrefix(points[len(points)-1], "930.0,") {
		t.Errorf("the curve is %s", curve.Points)
	}
}

func TestPlotPNG(t *testing.T) {
	c, err := newCanvas("x.PNG")
	if err != nil {
		t.Fatal(err)
	}
	drawPlot(c, "Latency", "ws://127.0.0.1:18000/", slow())
	var b bytes.Buffer
	if err := c.encode(&b); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	// Where the SVG has them: the curve from its first point on, a title, and white around it.
	for _, tt := range []struct {
		area image.Rectangle
		want color.RGBA
	}{
		{image.Rect(75, 475, 90, 485), curveInk},
		{image.Rect(920, 100, 940, 200), curveInk},
		{image.Rect(80, 18, 140, 32), ink},
		{image.Rect(0, 0, 10, 10), color.RGBA{0xff, 0xff, 0xff, 0xff}},
	} {
		if !containsColor(picture, tt.area, tt.want) {
			t.Errorf("no pixel of %v in %v", tt.want, tt.area)
		}
	}
}

func containsColor(picture image.Image, area image.Rectangle, want color.RGBA) bool {
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			if color.RGBAModel.Convert(picture.At(x, y)) == want {
				return true
			}
		}
	}
	return false
}

// TestPlotOfFewSamples: no axis is without length, and every label is on it.
func TestPlotOfFewSamples(t *testing.T) {
	for name, samples := range map[string][]sample{
		"none":              nil,
		"one":               {{0, 1}},
		"one value":         {{0, 0.1}, {0.5, 0.1}},
		"just below a step": {{0.5, math.Nextafter(1000, 0)}},
		"a nanosecond":      {{0, 1e-6}},
		"a day":             {{0, 86.4e6}, {0.9, 86.4e6}},
		"everything":        {{0, 1e-6}, {1 - 1e-9, 86.4e6}},
	} {
		var c svgCanvas
		drawPlot(&c, "title", "legend", samples)
		if text := c.elements.String(); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%s: a place is not finite:\n%s", name, text)
		}
		if len(samples) == 0 {
			continue
		}
		low, high := samples[0].millis, samples[len(samples)-1].millis
		yOf, labels, lines := yScale(low, high)
		if len(labels) < 2 || len(lines) > 150 {
			t.Errorf("%s: got %d labels and %d lines", name, len(labels), len(lines))
		}
		for _, v := range append(labels, low, high) {
			if y := yOf(v); y < plotTop-1 || y > plotBottom+1 {
				t.Errorf("%s: %v is at %v, want %d to %d", name, v, y, plotTop, plotBottom)
			}
		}
	}
}
