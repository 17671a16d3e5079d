package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sdNotify sends a state to the service manager: sd_notify(3). It does nothing if no service manager listens.
func sdNotify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET") // A leading @ stands for an abstract address, for package net as well.
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// watchdogTimeout returns the longest time that the service manager waits for a sign of life, or 0 if it does not wait
// for one of this process: sd_watchdog_enabled(3). It clears the variables, so that child processes do not see them.
func watchdogTimeout() (time.Duration, error) {
	timeout, pid := takeEnv("WATCHDOG_USEC"), takeEnv("WATCHDOG_PID")
	if timeout == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	usec, err := strconv.ParseInt(timeout, 10, 64)
	if err != nil || usec <= 0 || usec > int64(maxWatchdog/time.Microsecond) {
		return 0, fmt.Errorf("WATCHDOG_USEC is %q, want a number of microseconds above 0", timeout)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// maxWatchdog keeps the number of nanoseconds from overflowing.
const maxWatchdog = 1 << 62 * time.Nanosecond

// firstPassedFD is the fd of the first socket that is passed: SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstPassedFD = 3

// passedFiles returns the files that the service manager has passed to this process, and their names:
// sd_listen_fds_with_names(3). The name of a file without a name is "". It clears the variables, so that child
// processes do not see them, and marks the files close-on-exec. The caller owns the files.
func passedFiles() (files []*os.File, names []string) {
	pid, number, list := takeEnv("LISTEN_PID"), takeEnv("LISTEN_FDS"), takeEnv("LISTEN_FDNAMES")
	n, err := strconv.Atoi(number)
	if err != nil || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	names = strings.Split(list, ":")
	for i := range n {
		fd := firstPassedFD + i
		unix.CloseOnExec(fd)
		if i == len(names) {
			names = append(names, "")
		}
		files = append(files, os.NewFile(uintptr(fd), names[i]))
	}
	return files, names
}

// takeEnv returns the value of a variable of the environment, and unsets the variable.
func takeEnv(name string) string {
	v := os.Getenv(name)
	_ = os.Unsetenv(name) // It fails only for names that no variable can have.
	return v
}
