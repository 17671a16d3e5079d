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

// Host is what proc and sys say of a machine, and of this process in it.
type Host struct {
	// Root is the directory that has proc and sys, so that tests can have their own.
	// Empty is /.
	Root string
}

// path returns the name of a file of the host, which begins without a slash.
func (h Host) path(name string) string { return filepath.Join("/", h.Root, name) }

// text returns what stands in a file, without the space around it, and false where there
// is none: many are not there in a container, or without the module that they are of.
func (h Host) text(name string) (string, bool) {
	b, err := os.ReadFile(h.path(name))
	if err != nil {
		return "", false
	}
	return strings.TrimSpace(string(b)), true
}

// sysctl returns the words of a setting, such as fs.nr_open, and none where it is not there.
func (h Host) sysctl(name string) []string {
	text, _ := h.text("proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	return strings.Fields(text)
}

// number returns one of the words as a number. Those that no int64 holds, and those that
// say that there is no bound, are math.MaxInt64.
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

// setting returns the i-th number of a setting.
func (h Host) setting(name string, i int) (int64, bool) {
	words := h.sysctl(name)
	if i >= len(words) {
		return 0, false
	}
	return number(words[i])
}

// HardLimit returns how many files this process may open at the most, RLIMIT_NOFILE, see
// proc_pid_limits(5). The soft limit says nothing: the Go runtime has raised it already.
func (h Host) HardLimit() (int64, error) {
	text, _ := h.text("proc/self/limits")
	_, rest, found := strings.Cut(text, "Max open files")
	if words := strings.Fields(rest); found && len(words) >= 2 {
		if hard, ok := number(words[1]); ok {
			return hard, nil
		}
	}
	return 0, fmt.Errorf("doctor: %s does not say how many files may be open", h.path("proc/self/limits"))
}

// readOnlySettings says whether settings cannot be written here, as in a container: see
// proc_pid_mounts(5).
func (h Host) readOnlySettings() (readOnly bool) {
	text, _ := h.text("proc/self/mounts")
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 3 && words[1] == "/proc/sys" {
			readOnly = words[3] == "ro" || strings.HasPrefix(words[3], "ro,")
		}
	}
	return readOnly
}

// ports returns how many ports connect(2) may choose from, ip(7).
func (h Host) ports() (int64, bool) {
	low, ok := h.setting("net.ipv4.ip_local_port_range", 0)
	high, ok2 := h.setting("net.ipv4.ip_local_port_range", 1)
	return high - low + 1, ok && ok2
}

// processors returns on how many processors this process may run, sched_setaffinity(2).
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

// availableMemory returns what can still be used of the host's memory, without regard to
// control groups.
func (h Host) availableMemory() (int64, error) { return procfs.Meminfo(h.path(""), "MemAvailable") }
