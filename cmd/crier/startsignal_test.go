package main

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestHangupWhileStarting checks that a SIGHUP that arrives while a server reads its settings is handled afterwards. A
// command that does not serve ends by SIGHUP, like any process.
func TestHangupWhileStarting(t *testing.T) {
	bin := build(t)
	for _, command := range []string{"serve", "config"} {
		log := newStuckPipe(t)
		cmd := exec.Command(bin, command, "--config=/dev/stdin")
		cmd.Stderr = log.w
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // It may have ended.
		// A pipe holds 64 KiB, so after this write crier has begun to read.
		if _, err := stdin.Write(bytes.Repeat([]byte("# a comment\n"), 20_000)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Signal(syscall.SIGHUP)
		_, _ = stdin.Write([]byte("listen = \"127.0.0.1:0\"\n")) // The write fails if crier has wrongly ended.
		stdin.Close()
		if command == "serve" {
			for lines := ""; !strings.Contains(lines, "msg=reloaded") || !strings.Contains(lines, "msg=serving"); {
				lines += log.await(t, "msg=")
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			checkExit(t, cmd, 0)
			continue
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGHUP {
			t.Errorf("crier config: got %v, want an end by SIGHUP", cmd.ProcessState)
		}
	}
}
