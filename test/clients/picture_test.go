package clients

import (
	"flag"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// screenshots is where tests leave pictures of pages: those in docs are made so.
var screenshots = flag.String("screenshots", "", "directory for pictures of the pages (PNG), as ../../docs")

// pictureFile is where a picture of a name goes.
func pictureFile(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if *screenshots != "" {
		var err error
		if dir, err = filepath.Abs(*screenshots); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, name)
}

// checkPicture wants a picture of a size, in pixels.
func checkPicture(t *testing.T, file string, width, height int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.DecodeConfig(f)
	if err != nil || picture.Width != width || picture.Height != height {
		t.Errorf("%s: got %+v, %v, want %d times %d", file, picture, err, width, height)
	}
}
