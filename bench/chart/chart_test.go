package chart

import (
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// samples are charts of each kind, which are drawn in both formats.
func samples() map[string]*Chart {
	nan, inf := math.NaN(), math.Inf(1)
	lines := func(x, y Axis, points ...Point) *Chart {
		return &Chart{Title: "A <title> & more", X: x, Y: y, Series: []Series{
			{Name: "one", Points: points}, {Name: `"two" & <b>`, Points: points}, {Name: "none"},
		}}
	}
	linear, log := Axis{Title: "a [s]"}, Axis{Title: "b [ms]", Scale: Log}
	percentile := Axis{Title: "percentile", Scale: Percentile}
	return map[string]*Chart{
		"linear":     lines(linear, linear, Point{X: 1, Y: 2}, Point{X: 10, Y: 7, Low: 6, High: 9}),
		"log":        lines(log, log, Point{X: 1000, Y: 0.2}, Point{X: 18000, Y: 7000, Low: 5000, High: 9000}),
		"percentile": lines(percentile, log, Point{X: 0, Y: 1}, Point{X: 0.5, Y: 2}, Point{X: 0.9999, Y: 20}),
		"categories": lines(Axis{Scale: Categories, Labels: []string{"left", "right"}}, log,
			Point{X: 0, Y: 12, Low: 10, High: 40}, Point{X: 1, Y: 34000}),
		"empty":        {},
		"noPoints":     lines(log, log),
		"noCategories": lines(Axis{Scale: Categories}, linear, Point{X: 0, Y: 1}),
		"one":          lines(linear, linear, Point{X: 5, Y: 5}),
		"oneLog":       lines(log, log, Point{X: 5, Y: 5}),
		"onePercent":   lines(percentile, log, Point{X: 0.3, Y: 5}),
		"zeros":        lines(linear, linear, Point{}, Point{}),
		"zerosLog":     lines(log, log, Point{}, Point{X: 1}),
		"zerosLogY":    lines(linear, log, Point{}, Point{X: 1}),
		"notNumbers":   lines(linear, log, Point{X: nan, Y: 1}, Point{X: 1, Y: nan}, Point{X: 2, Y: inf}),
		"gap":          lines(linear, linear, Point{X: 1, Y: 1}, Point{X: 2, Y: nan}, Point{X: 3, Y: 1}),
		"negative":     lines(linear, linear, Point{X: -3, Y: -0.001}, Point{X: 1, Y: 0.002}),
		"huge":         lines(log, log, Point{X: 1e-300, Y: 1e300}, Point{X: 1e300, Y: 1e-300}),
		"hugeLinear":   lines(linear, linear, Point{X: -1e300, Y: 1e-300}, Point{X: 1e300}),
		"certain":      lines(percentile, linear, Point{X: 1, Y: 5}, Point{X: math.Nextafter(1, 0), Y: 4}),
		"infiniteSpan": lines(linear, linear, Point{X: math.MaxFloat64, Y: math.MaxFloat64},
			Point{X: -math.MaxFloat64, Y: -math.MaxFloat64}),
	}
}

// save draws a chart into a file and returns its name. With CHARTS=DIR the pictures
// stay in that directory, to be looked at.
func save(t *testing.T, c *Chart, name string) string {
	t.Helper()
	dir := os.Getenv("CHARTS")
	if dir == "" {
		dir = t.TempDir()
	}
	file := filepath.Join(dir, name)
	if err := c.Save(file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSaveSVG(t *testing.T) {
	for name, c := range samples() {
		t.Run(name, func(t *testing.T) {
			p := parse(t, save(t, c, name+".svg"))
			for _, want := range []string{c.Title, c.X.Title, c.Y.Title} {
				if want != "" && !slices.Contains(p.texts, want) {
					t.Errorf("no text %q in %q", want, p.texts)
				}
			}
			if strings.Contains(p.all, "NaN") || strings.Contains(p.all, "-9223372036854775808") {
				t.Error("a coordinate is no number")
			}
			drawn := !slices.Contains(p.texts, noPointText)
			for _, s := range c.Series {
				want := drawn && s.Points != nil
				if got := slices.Contains(p.texts, s.Name); got != want {
					t.Errorf("%q is in the legend: got %v, want %v", s.Name, got, want)
				}
			}
		})
	}
}

func TestNotes(t *testing.T) {
	empty := []string{"empty", "noPoints", "noCategories", "zerosLog", "zerosLogY", "notNumbers", "infiniteSpan"}
	for name, c := range samples() {
		p := parse(t, save(t, c, name+".svg"))
		if got, want := slices.Contains(p.texts, noPointText), slices.Contains(empty, name); got != want {
			t.Errorf("%s: the note is there: got %v, want %v", name, got, want)
		}
	}
}

// TestSavePNG draws some only: it is slow, and the calls are those of the SVG.
func TestSavePNG(t *testing.T) {
	for _, name := range []string{"empty", "log", "percentile", "categories", "zerosLog", "huge"} {
		c := samples()[name]
		t.Run(name, func(t *testing.T) {
			m := decode(t, save(t, c, name+".png"))
			if got, want := m.Bounds(), image.Rect(0, 0, width, height); got != want {
				t.Errorf("bounds: got %v, want %v", got, want)
			}
			if got := color.NRGBAModel.Convert(m.At(1, 1)); got != (color.NRGBA{255, 255, 255, 255}) {
				t.Errorf("background: got %v, want white", got)
			}
			empty := parse(t, save(t, c, name+".svg")).has(noPointText)
			blue := styleOf(0).color
			if got := has(m, color.NRGBA{blue.R, blue.G, blue.B, 255}); got == empty {
				t.Errorf("the first series is drawn: got %v, want %v", got, !empty)
			}
		})
	}
}

// TestMarks: what is drawn stands where its value says.
func TestMarks(t *testing.T) {
	c := &Chart{Y: Axis{Scale: Log}, X: Axis{Scale: Log}, Series: []Series{{Points: []Point{
		{X: 1, Y: 1}, {X: 10, Y: 10}, {X: 100, Y: 100},
	}}}}
	at := parse(t, save(t, c, "marks.svg")).circles
	if len(at) != 3 {
		t.Fatalf("got %d markers, want 3", len(at))
	}
	if dx := at[2].CX - 2*at[1].CX + at[0].CX; dx < -1 || dx > 1 {
		t.Errorf("decades are not equally wide: %v", at)
	}
	if dy := at[2].CY - 2*at[1].CY + at[0].CY; dy < -1 || dy > 1 || at[0].CY <= at[2].CY {
		t.Errorf("decades are not equally high: %v", at)
	}
}

// TestLegendBeside: however long the names, the legend stands right of all points and
// in the picture.
func TestLegendBeside(t *testing.T) {
	c := &Chart{Series: []Series{
		{Name: strings.Repeat("long ", 8), Points: []Point{{X: 1, Y: 1}, {X: 2, Y: 2}}},
	}}
	p := parse(t, save(t, c, "legend.svg"))
	if len(p.circles) != 3 {
		t.Fatalf("got %d markers, want 2 and one in the legend", len(p.circles))
	}
	if data, legend := p.circles[1].CX, p.circles[2].CX; legend < data+sample/2 || legend > width-sample {
		t.Errorf("the legend stands at %d, the last point at %d", legend, data)
	}
}

func TestCheck(t *testing.T) {
	for file, want := range map[string]string{
		"a.svg": "", "a.PNG": "", "dir.svg/a.png": "",
		"a": "not \"\"", "a.pdf": "must be .svg or .png", "a.svg/b": "must be .svg or .png",
	} {
		err := Check(file)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Check(%q): got %v, want %q", file, err, want)
		}
	}
	if err := (&Chart{}).Save(filepath.Join(t.TempDir(), "a.gif")); err == nil {
		t.Error("Save takes what Check does not")
	}
	if err := (&Chart{}).Save(filepath.Join(t.TempDir(), "none", "a.svg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Save into no directory: got %v, want %v", err, os.ErrNotExist)
	}
}

// picture is what was found in an SVG.
type picture struct {
	texts   []string
	circles []circle
	all     string
}

type circle struct {
	CX int `xml:"cx,attr"`
	CY int `xml:"cy,attr"`
}

func (p picture) has(text string) bool { return slices.Contains(p.texts, text) }

func parse(t *testing.T, file string) (p picture) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p.all = string(data)
	d := xml.NewDecoder(strings.NewReader(p.all))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		switch {
		case ok && e.Name.Local == "text":
			var text string
			if err := d.DecodeElement(&text, &e); err != nil {
				t.Fatal(err)
			}
			p.texts = append(p.texts, text)
		case ok && e.Name.Local == "circle":
			var c circle
			if err := d.DecodeElement(&c, &e); err != nil {
				t.Fatal(err)
			}
			p.circles = append(p.circles, c)
		}
	}
}

func decode(t *testing.T, file string) image.Image {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// has tells whether a pixel of exactly this colour is there.
func has(m image.Image, want color.NRGBA) bool {
	n := image.NewNRGBA(m.Bounds())
	draw.Draw(n, n.Rect, m, n.Rect.Min, draw.Src)
	for i := 0; i < len(n.Pix); i += 4 {
		if [4]uint8(n.Pix[i:]) == [4]uint8{want.R, want.G, want.B, want.A} {
			return true
		}
	}
	return false
}
