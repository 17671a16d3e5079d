package doctor

import (
	"math"
	"path"
	"strconv"
	"strings"
)

// group is a hierarchy of control groups, and the group of this process in it.
type group struct {
	mount, path string
	unified     bool // Version 2.
}

// groups returns the groups of this process that a controller may belong to: cgroups(7). A host may have both
// versions, 2 and 1.
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

// ancestry returns the directories of the group and of its ancestors, from the inside out. In a container, the path may
// be one of the host that does not exist in the container; then only the mount itself has files.
func (g group) ancestry() (dirs []string) {
	for p := path.Clean("/" + g.path); ; p = path.Dir(p) {
		dirs = append(dirs, path.Join(g.mount, p))
		if p == "/" {
			return dirs
		}
	}
}

// bound is a limit that a control group sets for this process.
type bound struct {
	dir  string // The directory of the group, without the root directory.
	file string // The file with the limit.
	max  int64  // The limit.
	left int64  // The unused part of it.
}

// raise returns the setting and the command that raise the limit, with {} for the value, each in a line.
func (b bound) raise() string {
	if b.file == "memory.high" {
		return "MemoryHigh={}   # " + unit(b.dir)
	}
	return "MemoryMax={}   # " + unit(b.dir) + "\ndocker run --memory={} ..."
}

// unit returns the section of a systemd unit that has the settings of a group.
func unit(dir string) string {
	if name := path.Base(dir); strings.HasSuffix(name, ".slice") {
		return "[Slice] of " + name
	}
	return "[Service] of the systemd unit"
}

// memoryBound returns the lowest limit of memory that the groups set, and false if they set none. Cached files that the
// kernel could drop do not count as used.
func (h Host) memoryBound() (tightest bound, found bool) {
	for _, g := range h.groups("memory") {
		files, usage, inactive := []string{"memory.max", "memory.high"}, "memory.current", "inactive_file"
		if !g.unified {
			files, usage, inactive = []string{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"
		}
		for _, dir := range g.ancestry() {
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

// noLimit is more memory than any machine has. Version 1 expresses "no limit" as the largest multiple of a page that
// fits an int64.
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

// quota is the processor time that a control group allows.
type quota struct {
	dir        string
	processors float64
}

// cpuQuota returns the lowest quota that the groups set, and false if they set none.
func (h Host) cpuQuota() (tightest quota, found bool) {
	for _, g := range h.groups("cpu") {
		for _, dir := range g.ancestry() {
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
			most, err := strconv.ParseFloat(words[0], 64) // "max" or -1 for no quota.
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
