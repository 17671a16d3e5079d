package criertest

import (
	"flag"
	"os/exec"
	"strings"
	"testing"
)

func TestBuild(t *testing.T) {
	program, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "version").Output(); err != nil || !strings.Contains(string(out), "crier") {
		t.Errorf("got %s, %v, want the version of crier", out, err)
	}
	if _, err := Build(t.TempDir(), "-no-such-flag"); err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("got %v, want what go build says", err)
	}
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, "three calls", func() bool { calls++; return calls == 3 })
	if calls != 3 {
		t.Errorf("got %d calls, want 3", calls)
	}
}

func TestAllowParallel(t *testing.T) {
	parallel := flag.Lookup("test.parallel")
	before := parallel.Value.String()
	t.Cleanup(func() { _ = parallel.Value.Set(before) })
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f == parallel })
	want := "17"
	if given {
		want = before
	}
	if AllowParallel(17); parallel.Value.String() != want {
		t.Errorf("got %v, want %v", parallel.Value, want)
	}
	if AllowParallel(18); parallel.Value.String() != want {
		t.Errorf("once it is given: got %v, want %v", parallel.Value, want)
	}
}
