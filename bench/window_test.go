package bench

import "testing"

func TestDropsOnlyGrow(t *testing.T) {
	before, err := drops()
	if err != nil {
		t.Fatal(err)
	}
	if after, err := drops(); err != nil || after < before {
		t.Errorf("got %d, %v, after %d", after, err, before)
	}
}
