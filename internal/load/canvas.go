package load

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"path/filepath"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// canvas is a white picture of plotWidth by plotHeight pixels. Later drawings cover earlier ones.
type canvas interface {
	// line connects points, in the given width.
	line(c color.RGBA, width float64, points []point)
	// text writes text on the baseline at p.
	text(c color.RGBA, p point, a align, text string)
	encode(w io.Writer) error
}

// align is which end of a text is at its point.
type align int

const (
	alignStart align = iota
	alignMiddle
	alignEnd
)

// newCanvas returns the canvas for the extension of a file. It does not touch the file.
func newCanvas(file string) (canvas, error) {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".svg":
		return new(svgCanvas), nil
	case ".png":
		c := &pngCanvas{image.NewRGBA(image.Rect(0, 0, plotWidth, plotHeight))}
		draw.Draw(c.image, c.image.Bounds(), image.White, image.Point{}, draw.Src)
		return c, nil
	}
	return nil, fmt.Errorf("--plot is %q: the extension must be .svg or .png", file)
}

// svgCanvas draws elements of SVG.
type svgCanvas struct{ elements bytes.Buffer }

func svgColor(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func (s *svgCanvas) line(c color.RGBA, width float64, points []point) {
	fmt.Fprintf(&s.elements, `<polyline fill="none" stroke="%s" stroke-width="%g" points="`, svgColor(c), width)
	for _, p := range points {
		fmt.Fprintf(&s.elements, "%.1f,%.1f ", p.x, p.y)
	}
	s.elements.WriteString("\"/>\n")
}

func (s *svgCanvas) text(c color.RGBA, p point, a align, text string) {
	anchor := [...]string{alignStart: "start", alignMiddle: "middle", alignEnd: "end"}[a]
	fmt.Fprintf(&s.elements, `<text fill="%s" x="%.1f" y="%.1f" text-anchor="%s">`, svgColor(c), p.x, p.y, anchor)
	_ = xml.EscapeText(&s.elements, []byte(text)) // A Buffer takes everything.
	s.elements.WriteString("</text>\n")
}

func (s *svgCanvas) encode(w io.Writer) error {
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">
<rect width="100%%" height="100%%" fill="white"/>
%s</svg>
`, plotWidth, plotHeight, s.elements.String())
	return err
}

// pngCanvas draws pixels.
type pngCanvas struct{ image *image.RGBA }

// line draws a rectangle for each part of the line.
func (p *pngCanvas) line(c color.RGBA, width float64, points []point) {
	z := vector.NewRasterizer(plotWidth, plotHeight)
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		length := math.Hypot(b.x-a.x, b.y-a.y)
		if length == 0 {
			continue
		}
		// From the middle of the line to its side, and to beyond its end, so that no gaps are at corners.
		along := point{(b.x - a.x) / length * width / 2, (b.y - a.y) / length * width / 2}
		corner := func(q point, end, side float64) (x, y float32) {
			return float32(q.x + end*along.x - side*along.y), float32(q.y + end*along.y + side*along.x)
		}
		z.MoveTo(corner(a, -1, -1))
		z.LineTo(corner(b, 1, -1))
		z.LineTo(corner(b, 1, 1))
		z.LineTo(corner(a, -1, 1))
		z.ClosePath()
	}
	z.Draw(p.image, p.image.Bounds(), image.NewUniform(c), image.Point{})
}

func (p *pngCanvas) text(c color.RGBA, at point, a align, text string) {
	d := font.Drawer{Dst: p.image, Src: image.NewUniform(c), Face: basicfont.Face7x13}
	shift := float64(d.MeasureString(text).Round()) / 2 * float64(a)
	d.Dot = fixed.P(int(math.Round(at.x-shift)), int(math.Round(at.y)))
	d.DrawString(text)
}

func (p *pngCanvas) encode(w io.Writer) error { return png.Encode(w, p.image) }
