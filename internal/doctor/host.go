package doctor

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/crier-ws/crier/internal/procfs"
)

// Host reads from proc and sys the limits of a machine and of this process. The zero value is this machine.
type Host struct {
	// Root is the directory that has proc and sys, which tests can set. Defaults to /.
	Root string
}

// path returns the path of a file of the host. name does not begin with a slash.
func (h Host) path(name string) string { return filepath.Join("/", h.Root, name) }

// text returns the content of a file without surrounding space. It returns false if the file cannot be read: many do
// not exist in a container, or while their kernel module is not loaded.
func (h Host) text(name string) (string, bool) {
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(b)), true
}

// sysctl returns the words of a setting, such as fs.nr_open. It returns none if the setting does not exist.
func (h Host) sysctl(name string) []string {
	text, _ := h.text("proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	return strings.Fields(text)
}

// number returns a word as a number, at most math.MaxInt64. Words that mean "no limit" are math.MaxInt64.
func number(word string) (int64, bool) {
	if word == "max" || word == "unlimited" {
		return math.MaxInt64, true
	}
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return 0, false
	}
	return int64(min(n, math.MaxInt64)), true
}

// setting returns the number at index i of a setting. It returns false if there is none.
func (h Host) setting(name string, i int) (int64, bool) {
	words := h.sysctl(name)
	if i >= len(words) {
		return 0, false
	}
	return number(words[i])
}

// HardLimit returns the hard limit of this process for open files: RLIMIT_NOFILE, proc_pid_limits(5). The soft limit
// is of no use, because the Go runtime has already raised it.
func (h Host) HardLimit() (int64, error) {
	text, _ := h.text("proc/self/limits")
	_, rest, found := strings.Cut(text, "Max open files")
	if words := strings.Fields(rest); found && len(words) >= 2 {
		if hard, ok := number(words[1]); ok {
			return hard, nil
		}
	}
	return 0, fmt.Errorf("doctor: %s has no limit of open files", h.path("proc/self/limits"))
}

// readOnlySettings reports whether settings are mounted read-only, as in a container: proc_pid_mounts(5).
func (h Host) readOnlySettings() (readOnly bool) {
	text, _ := h.text("proc/self/mounts")
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 3 && words[1] == "/proc/sys" {
			readOnly = words[3] == "ro" || strings.HasPrefix(words[3], "ro,")
		}
	}
	return readOnly
}

// ports returns the number of ports that connect(2) may choose from: ip(7).
func (h Host) ports() (int64, bool) {
	low, ok := h.setting("net.ipv4.ip_local_port_range", 0)
	high, ok2 := h.setting("net.ipv4.ip_local_port_range", 1)
	return high - low + 1, ok && ok2
}

// processors returns the number of processors that this process may run on: sched_setaffinity(2).
func (h Host) processors() (n int, ok bool) {
	text, _ := h.text("proc/self/status")
	_, rest, _ := strings.Cut(text, "Cpus_allowed_list:")
	list, _, _ := strings.Cut(rest, "\n")
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil {
			return 0, false
		}
		n += to - from + 1
	}
	return n, true
}

// availableMemory returns how many bytes of the host's memory are available, without regard to control groups.
func (h Host) availableMemory() (int64, error) { return procfs.Meminfo(h.path(""), "MemAvailable") }
