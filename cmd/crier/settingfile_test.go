package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestConfigFromPipe checks that --config accepts a pipe, such as <(...) of a shell, and that SIGHUP, which cannot
// read the pipe again, changes nothing.
func TestConfigFromPipe(t *testing.T) {
	log := newStuckPipe(t)
	cmd := exec.Command(build(t), "--config=/dev/stdin")
	cmd.Stdin, cmd.Stderr = strings.NewReader("listen = \"127.0.0.1:0\"\nlog-level = \"debug\"\n"), log.w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // It may have ended.
	log.await(t, "msg=serving")
	_ = cmd.Process.Signal(syscall.SIGHUP)
	log.await(t, "msg=reloaded")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	checkExit(t, cmd, 0)
}

// TestUnreadableConfig checks that a file without an end, and a pipe without a writer, do not block crier.
func TestUnreadableConfig(t *testing.T) {
	dir := t.TempDir()
	fifo := dir + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		fifo: "a pipe without a writer", "/dev/zero": "more than 1048576 bytes", dir: "is a directory", dir +
			"/none": "no such file",
	} {
		if got := complaint(t, 2, "serve", "--config="+name); !strings.Contains(got, "--config "+name) ||
			!strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestOutputFull checks that the exit code is not that of wrong settings if standard output is a full disk.
func TestOutputFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range []string{"--help", "serve --help", "help sub", "config", "config --template", "version --json",
		"doctor --quick", "completion bash"} {
		var log strings.Builder
		cmd := exec.Command(build(t), strings.Fields(args)...)
		cmd.Stdout, cmd.Stderr = full, &log
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(log.String(),
			"crier: standard output: no space left on device\nhint: ") {
			t.Errorf("%s: got code %d, %q, want 1", args, code, log.String())
		}
	}
}

// TestArgumentsInUTF8 checks that an argument in another encoding is an error.
func TestArgumentsInUTF8(t *testing.T) {
	if got := complaint(t, 2, "serve", "--path=/caf\xe9"); !strings.Contains(got, `"--path=/caf\xe9" is not valid UTF-8`) {
		t.Errorf("got %q", got)
	}
}
