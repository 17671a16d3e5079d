package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a file that a flag names. A pipe may be slower than a disk, but its writer must end.
const (
	maxSettingBytes = 1 << 20
	settingTimeout  = 10 * time.Second
)

// readSetting reads a file that a flag names. It fails if the file is too large, is a pipe without a writer, or
// cannot be read. The error does not contain the name.
func readSetting(name string) ([]byte, error) {
	// Opening a pipe must not block until it has a writer: fifo(7).
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	_ = f.SetReadDeadline(time.Now().Add(settingTimeout)) // Fails for regular files, whose reads do not block.
	b, err := io.ReadAll(io.LimitReader(f, maxSettingBytes+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("the pipe did not end within %v", settingTimeout)
	case err != nil:
		return nil, err
	case len(b) == 0 && info.Mode()&fs.ModeNamedPipe != 0:
		return nil, errors.New("it is a pipe without a writer")
	case len(b) > maxSettingBytes:
		return nil, fmt.Errorf("it has more than %d bytes", maxSettingBytes)
	}
	return b, nil
}

// checkRegular returns an error if name is not a regular file. Other files cannot be read a second time.
func checkRegular(name string) error {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file, so it could not be read again")
	}
	return err
}
