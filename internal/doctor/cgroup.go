package doctor

import (
	"math"
	"path"
	"strconv"
	"strings"
)

// group is where one hierarchy of control groups is, and the group of this process in it.
type group struct {
	mount, path string
	unified     bool // version 2
}

// groups returns the groups of this process that a controller may be in, see cgroups(7):
// of version 2, and of version 1, which may be there both.
func (h Host) groups(controller string) (all []group) {
	text, _ := h.text("proc/self/cgroup")
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[0] == "0" && fields[1] == "" {
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				all = append(all, group{mount, fields[2], true})
			}
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			if name != controller {
				continue
			}
			for _, mount := range []string{"sys/fs/cgroup/" + controller, "sys/fs/cgroup/" + fields[1]} {
				all = append(all, group{mount, fields[2], false})
			}
		}
	}
	return all
}

// up returns the directories of the group and of those that it is in, from the inside out.
// In a container the path may be one of the host's, which is not there: then only the
// mount itself says something.
func (g group) up() (dirs []string) {
	for p := path.Clean("/" + g.path); ; p = path.Dir(p) {
		dirs = append(dirs, path.Join(g.mount, p))
		if p == "/" {
			return dirs
		}
	}
}

// bound is what a control group leaves this process of something.
type bound struct {
	dir  string // the group that binds, without the root directory
	file string // its file
	max  int64  // what stands there
	left int64  // what of it nobody has
}

// raise returns the line that raises it, with {} for the value, and the command, if there is one.
func (b bound) raise() string {
	if b.file == "memory.high" {
		return "MemoryHigh={}   # " + unit(b.dir)
	}
	return "MemoryMax={}   # " + unit(b.dir) + "\ndocker run --memory={} ..."
}

// unit says where systemd has the settings of a group.
func unit(dir string) string {
	if name := path.Base(dir); strings.HasSuffix(name, ".slice") {
		return "[Slice] of " + name
	}
	return "[Service] of the systemd unit"
}

// memoryBound returns the tightest bound of memory that the groups set, and false if none
// of them sets any. Files that were read and could be dropped do not count as used.
func (h Host) memoryBound() (tightest bound, found bool) {
	for _, g := range h.groups("memory") {
		files, usage, inactive := []string{"memory.max", "memory.high"}, "memory.current", "inactive_file"
		if !g.unified {
			files, usage, inactive = []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"
		}
		for _, dir := range g.up() {
			for _, file := range files {
				text, _ := h.text(path.Join(dir, file))
				most, ok := number(text)
				if !ok || most > noLimit {
					continue
				}
				used, _ := h.text(path.Join(dir, usage))
				current, _ := number(used)
				stat, _ := h.text(path.Join(dir, "memory.stat"))
				left := max(0, most-max(0, current-statistic(stat, inactive)))
				if !found || left < tightest.left {
					tightest, found = bound{dir: dir, file: file, max: most, left: left}, true
				}
			}
		}
	}
	return tightest, found
}

// noLimit is above what any machine has; version 1 says "no limit" with the largest
// multiple of a page that an int64 holds.
const noLimit = math.MaxInt64 / 2

// statistic returns a number of a file such as memory.stat, or 0.
func statistic(text, name string) int64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == name {
			n, _ := number(words[1])
			return n
		}
	}
	return 0
}

// quota is how much time of processors a control group gives.
type quota struct {
	dir        string
	processors float64
}

// cpuQuota returns the tightest quota that the groups set, and false if none sets any.
func (h Host) cpuQuota() (tightest quota, found bool) {
	for _, g := range h.groups("cpu") {
		for _, dir := range g.up() {
			var text string
			if g.unified {
				text, _ = h.text(path.Join(dir, "cpu.max"))
			} else {
				most, _ := h.text(path.Join(dir, "cpu.cfs_quota_us"))
				period, _ := h.text(path.Join(dir, "cpu.cfs_period_us"))
				text = most + " " + period
			}
			words := strings.Fields(text)
			if len(words) != 2 {
				continue
			}
			most, err := strconv.ParseFloat(words[0], 64) // "max", or -1, for none
			period, err2 := strconv.ParseFloat(words[1], 64)
			if err != nil || err2 != nil || most <= 0 || period <= 0 {
				continue
			}
			if p := most / period; !found || p < tightest.processors {
				tightest, found = quota{dir, p}, true
			}
		}
	}
	return tightest, found
}
