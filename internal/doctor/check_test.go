package doctor

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// large is a host on which a million connections fit.
var large = map[string]string{
	"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max open files            1024                 1200000              files     \n" +
		"Max locked memory         8388608              8388608              bytes     \n",
	"proc/self/status":    "Name:\tcrier\nCpus_allowed:\tf\nCpus_allowed_list:\t0-2,5\nThreads:\t7\n",
	"proc/self/cgroup":    "0::/system.slice/crier.service\n",
	"proc/meminfo":        "MemTotal:       16000000 kB\nMemAvailable:   15000000 kB\n",
	"proc/sys/fs/nr_open": "1200000\n", "proc/sys/fs/file-max": "9223372036854775807\n",
	"proc/sys/fs/file-nr":                                               "2000\t0\t9223372036854775807\n",
	"proc/sys/fs/epoll/max_user_watches":                                "3000000\n",
	"proc/sys/net/core/somaxconn":                                       "65535\n",
	"proc/sys/net/ipv4/tcp_mem":                                         "900000\t1200000\t1800000\n",
	"proc/sys/net/ipv4/tcp_rmem":                                        "4096\t131072\t6291456\n",
	"proc/sys/net/ipv4/tcp_wmem":                                        "4096\t16384\t4194304\n",
	"proc/sys/net/ipv4/ip_local_port_range":                             "1024\t65535\n",
	"proc/sys/net/ipv4/tcp_congestion_control":                          "cubic\n",
	"proc/sys/net/core/default_qdisc":                                   "fq_codel\n",
	"sys/fs/cgroup/system.slice/memory.max":                             "max\n",
	"sys/fs/cgroup/system.slice/cpu.max":                                "max 100000\n",
	"sys/devices/system/clocksource/clocksource0/current_clocksource":   "tsc\n",
	"sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm\n",
}

// on returns the large host with some files changed. Files that are "-" do not exist.
func on(t *testing.T, changed map[string]string) Host {
	t.Helper()
	files := maps.Clone(large)
	maps.Copy(files, changed)
	root := t.TempDir()
	for name, text := range files {
		if text == "-" {
			continue
		}
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root}
}

const million = 1_000_000

// each is the memory of a connection.
var each = Range{4000, 4352, 5000}

func checks(t *testing.T, h Host, n int) map[string]Check {
	t.Helper()
	all, err := h.Checks(Goal{Conns: n, Reserved: 100}, each)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]Check)
	for _, c := range all {
		if byName[c.Name].Name != "" || c.What == "" || c.Verdict == "" {
			t.Errorf("there twice, or without words: %+v", c)
		}
		if c.Verdict == Small && len(c.Change) == 0 {
			t.Errorf("%s is too small, and there is no command for that", c.Name)
		}
		byName[c.Name] = c
	}
	return byName
}

// TestLargeHost checks that a host with all limits high enough needs no change.
func TestLargeHost(t *testing.T) {
	h := on(t, nil)
	got := checks(t, h, million)
	for name, c := range got {
		want := OK
		if name == groupMemory || name == conntrack {
			want = Absent
		}
		if c.Verdict != want || c.Change != nil {
			t.Errorf("%s: got %s, want %s: %+v", name, c.Verdict, want, c)
		}
	}
	if len(got) != 15 {
		t.Errorf("got %d checks, want 15", len(got))
	}
	all, err := h.Checks(Goal{Conns: million, Reserved: 100}, each)
	if err != nil || !Fits(all) {
		t.Errorf("got %v, %v, want that it fits", Fits(all), err)
	}
	if n, name := Most(all); n != 1199000 || name != tcpMem {
		t.Errorf("got %d by %s, want 1199000 by tcp_mem", n, name)
	}
}

// TestChecks checks each limit by itself.
func TestChecks(t *testing.T) {
	const v1 = "5:cpu,cpuacct:/box\n4:memory:/box/inner\n0::/\n"
	limits := func(hard string) string {
		return "Max open files            20000                " + hard + "  files\n"
	}
	conntrackFile, countFile := "proc/sys/net/netfilter/nf_conntrack_max", "proc/sys/net/netfilter/nf_conntrack_count"
	const readOnly = "proc /proc proc rw,nosuid 0 0\nproc /proc/sys proc ro,nosuid,nodev 0 0\n"
	clock := "sys/devices/system/clocksource/clocksource0/"
	tests := []struct {
		name    string
		files   map[string]string
		check   string
		verdict Verdict
		allows  int    // -1 for no limit
		says    string // Part of the output.
	}{
		{"fd limit", map[string]string{"proc/self/limits": limits("20000")}, openFiles, Small, 19900,
			"|20000|; LimitNOFILE=1101000 ; ulimit -Hn 1101000"},
		{"fd limit, and nr_open between", map[string]string{"proc/self/limits": limits("20000"),
			"proc/sys/fs/nr_open": "1048576"}, openFiles, Small, 19900, "LimitNOFILE=1048576 "},
		{"fd limit just enough", map[string]string{"proc/self/limits": limits("1000100")}, openFiles, OK, million, ""},
		{"no fd limit", map[string]string{"proc/self/limits": limits("unlimited")}, openFiles, OK, -1, "no limit"},
		{"nr_open", map[string]string{"proc/sys/fs/nr_open": "1000000"}, "fs.nr_open", Small, 999900,
			"sysctl -w fs.nr_open=1101000"},
		{"file-max", map[string]string{"proc/sys/fs/file-max": "700000"}, "fs.file-max", Small, 697000,
			"2000 of them are in use; sysctl -w fs.file-max=1104000"},
		{"watches", map[string]string{"proc/sys/fs/epoll/max_user_watches": "500000"}, "fs.epoll.max_user_watches", Small,
			499000, "sysctl -w fs.epoll.max_user_watches=1102000"},
		{"tcp_mem", map[string]string{"proc/sys/net/ipv4/tcp_mem": "1 2000 3000"}, tcpMem, Small, 1000,
			"1 2000 3000 pages; sysctl -w net.ipv4.tcp_mem='826500 1102000 1653000'"},
		{"tcp_mem, whose last value is larger", map[string]string{"proc/sys/net/ipv4/tcp_mem": "900000 950000 9000000"},
			tcpMem, Advice, 949000, "sysctl -w net.ipv4.tcp_mem='900000 1102000 9000000'"},
		{"tcp_mem between", map[string]string{"proc/sys/net/ipv4/tcp_mem": "1 2000 1500000"}, tcpMem, Advice, 1000,
			"sysctl -w net.ipv4.tcp_mem"},
		{"tcp_mem not shown", map[string]string{"proc/sys/net/ipv4/tcp_mem": "-"}, tcpMem, Unknown, -1, "on the host"},
		{"conntrack", map[string]string{conntrackFile: "262144", countFile: "44"}, conntrack, Small, 261100,
			"sysctl -w net.netfilter.nf_conntrack_max=1102000"},
		{"conntrack, empty", map[string]string{conntrackFile: "262144", countFile: "0"}, conntrack, Advice, 261144, "empty"},
		{"conntrack, large", map[string]string{conntrackFile: "2000000", countFile: "44"}, conntrack, OK, 1998956,
			"44 of them"},
		{"conntrack, no bound", map[string]string{conntrackFile: "0", countFile: "44"}, conntrack, OK, -1, "no limit"},
		{"settings that cannot be written here", map[string]string{"proc/self/mounts": readOnly,
			"proc/sys/net/core/somaxconn": "128"}, "net.core.somaxconn", Advice, -1,
			"|docker run --sysctl net.core.somaxconn=65535 ..."},
		{"a setting of all containers", map[string]string{"proc/self/mounts": readOnly, "proc/sys/fs/nr_open": "1000000"},
			"fs.nr_open", Small, 999900, "sysctl -w fs.nr_open=1101000   # on the host of this container"},
		{"memory", map[string]string{"proc/meminfo": "MemAvailable: 1000000 kB\n"}, "memory", Small, 219873,
			"1.0 GB; larger machine"},
		{"memory that is enough perhaps", map[string]string{"proc/meminfo": "MemAvailable: 4500000 kB\n"}, "memory", Advice,
			1043403, "not for the highest: 5.1 GB; larger machine"},
		{"group's memory", map[string]string{"sys/fs/cgroup/system.slice/crier.service/memory.max": "2000000000",
			"sys/fs/cgroup/system.slice/crier.service/memory.current": "500000000",
			"sys/fs/cgroup/system.slice/crier.service/memory.stat":    "anon 1\ninactive_file 400000000\n"},
			groupMemory, Small, 421160, "memory.max of cgroup/system.slice/crier.service; 1.9 GB of 2.0 GB; MemoryMax=4"},
		{"slice's memory", map[string]string{"sys/fs/cgroup/system.slice/memory.max": "3000000000",
			"sys/fs/cgroup/system.slice/crier.service/memory.max": "9000000000"}, groupMemory, Small, 673918,
			"memory.max of cgroup/system.slice leaves; MemoryMax=4636M   # [Slice] of system.slice"},
		{"memory.high that is too small",
			map[string]string{"sys/fs/cgroup/system.slice/crier.service/memory.high": "1000000000"}, groupMemory, Small, 214359,
			"MemoryHigh=4636M   # [Service] of the systemd unit"},
		{"memory.high", map[string]string{"sys/fs/cgroup/system.slice/crier.service/memory.high": "9000000000"}, groupMemory,
			OK, 2052594, "memory.high"},
		{"group's memory, version 1", map[string]string{"proc/self/cgroup": v1,
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712",
			"sys/fs/cgroup/memory/box/memory.limit_in_bytes": "1000000000"}, groupMemory, Small, 214359,
			"memory.limit_in_bytes of cgroup/memory/box"},
		{"container: the path is the host's", map[string]string{"proc/self/cgroup": "0::/docker/abc",
			"sys/fs/cgroup/memory.max": "1000000000"}, groupMemory, Small, 214359, "memory.max of cgroup leaves"},
		{"backlog", map[string]string{"proc/sys/net/core/somaxconn": "128"}, "net.core.somaxconn", Advice, -1,
			"sysctl -w net.core.somaxconn=65535"},
		{"ports", map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768 60999"}, portRange, Advice, -1,
			"28232 connections; so 36 addresses; ='1024 65535'"},
		{"send buffer", map[string]string{"proc/sys/net/ipv4/tcp_wmem": "4096 8192 16384"}, "net.ipv4.tcp_wmem", Advice, -1,
			"sysctl -w net.ipv4.tcp_wmem="},
		{"receive buffer", map[string]string{"proc/sys/net/ipv4/tcp_rmem": "-"}, "net.ipv4.tcp_rmem", Unknown, -1,
			"not shown"},
		{"processors", nil, "processors", OK, -1, "4, no quota"},
		{"quota", map[string]string{"sys/fs/cgroup/system.slice/crier.service/cpu.max": "150000 100000"}, "processors",
			Advice, -1, "4, quota 1.5 (cgroup/system.slice/crier.service); CPUQuota=400%   # [Service] of the systemd unit"},
		{"slice's quota", map[string]string{"sys/fs/cgroup/system.slice/cpu.max": "150000 100000"}, "processors", Advice, -1,
			"CPUQuota=400%   # [Slice] of system.slice"},
		{"quota, version 1", map[string]string{"proc/self/cgroup": v1,
			"sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us":  "50000",
			"sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000"}, "processors", Advice, -1, "quota 0.5"},
		{"slow clock", map[string]string{clock + "current_clocksource": "hpet"}, "clock source", Advice, -1,
			"echo tsc > /sys/devices/"},
		{"slow clock, no other", map[string]string{clock + "current_clocksource": "xen", clock +
			"available_clocksource": "xen"}, "clock source", Advice, -1, "no faster source"},
		{"bbr", map[string]string{"proc/sys/net/ipv4/tcp_congestion_control": "bbr"}, "net.ipv4.tcp_congestion_control",
			Advice, -1, "default_qdisc=fq"},
		{"bbr and fq", map[string]string{"proc/sys/net/ipv4/tcp_congestion_control": "bbr",
			"proc/sys/net/core/default_qdisc": "fq"}, "net.ipv4.tcp_congestion_control", OK, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := checks(t, on(t, tt.files), million)[tt.check]
			allows := -1
			if c.Allows != nil {
				allows = *c.Allows
			}
			if c.Verdict != tt.verdict || allows != tt.allows {
				t.Errorf("got %s, allows %d, want %s, %d: %+v", c.Verdict, allows, tt.verdict, tt.allows, c)
			}
			text := strings.Join([]string{c.Name, c.What, c.Found, c.Needed, c.Note, strings.Join(c.Change, "|")}, "|")
			for part := range strings.SplitSeq(tt.says, "; ") {
				if !strings.Contains(text, part) {
					t.Errorf("there is no %q in %s", part, text)
				}
			}
			if fits := Fits([]Check{c}); fits != (tt.verdict != Small) {
				t.Errorf("fits: got %v", fits)
			}
		})
	}
}

// TestProposalIsEnough checks that the proposed values are high enough, and that the kernel accepts them.
func TestProposalIsEnough(t *testing.T) {
	h := on(t, map[string]string{"proc/self/limits": "Max open files 1024 4096 files\n", "proc/sys/fs/nr_open": "4096",
		"proc/sys/fs/file-max":               "4096",
		"proc/sys/fs/epoll/max_user_watches": "4096", "proc/sys/net/ipv4/tcp_mem": "1 2 3",
		"proc/meminfo":             "MemAvailable: 4096 kB\n",
		"sys/fs/cgroup/memory.max": "1000000"})
	limits, err := h.Limits(Goal{Conns: million, Reserved: 100}.needs(5000))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range limits {
		if l.Need.Each == 0 {
			continue
		}
		var value int64
		unit := ""
		if _, err := fmt.Sscanf(h.proposal(l, million), "%d%s", &value, &unit); err != nil && unit != "" {
			t.Fatal(err)
		}
		if unit == "M" {
			value <<= 20
		}
		small := l.Allows()
		l.Have = value
		if small >= million || l.Allows() < million || value > l.Needed(million)*12/10 {
			t.Errorf("%s: %d allows %d, want a little more than a million", l.Name, value, l.Allows())
		}
	}
}

// TestThisHost checks that the files of this host can be read.
func TestThisHost(t *testing.T) {
	h := Host{}
	hard, err := h.HardLimit()
	if err != nil || hard < 100 {
		t.Fatalf("open files: got %d, %v", hard, err)
	}
	got := checks(t, h, 10)
	for _, name := range []string{openFiles, "memory", "fs.nr_open", "fs.file-max"} {
		if c := got[name]; c.Verdict != OK {
			t.Errorf("%s: got %+v, want ok for 10 connections", name, c)
		}
	}
	if p := h.Processors(); p <= 0 || p > 1<<16 {
		t.Errorf("got %v processors", p)
	}
}

// TestNoHost checks for an error if required files do not exist.
func TestNoHost(t *testing.T) {
	for _, changed := range []map[string]string{{"proc/self/limits": "-"},
		{"proc/self/limits": "Max open files x y files"}, {"proc/meminfo": "-"}} {
		if all, err := on(t, changed).Checks(Goal{Conns: 1}, each); err == nil {
			t.Errorf("%v: got %v, want an error", changed, all)
		}
	}
	h := Host{Root: t.TempDir()}
	for _, c := range h.advice(math.MaxInt) {
		if c.Verdict != Unknown || c.Note == "" {
			t.Errorf("of a host that shows nothing: got %+v, want that it is unknown", c)
		}
	}
	if h.Processors() != 1 {
		t.Errorf("got %v processors, want 1 at least", h.Processors())
	}
}

// TestAllowsWithoutOverflow checks that a number above the int64 range means no limit.
func TestAllowsWithoutOverflow(t *testing.T) {
	l := Limit{Have: math.MaxInt64 - 1, Need: Need{100, 1}}
	if got := l.Allows(); got < math.MaxInt64-1<<20 {
		t.Errorf("got %d", got)
	}
}

// TestAmount checks that bytes are written without exponents.
func TestAmount(t *testing.T) {
	for v, want := range map[int64]string{0: "0 MB", 1_500_000: "1.5 MB", 64 << 20: "67.1 MB", 999_400_000: "999 MB",
		999_600_000:   "1.0 GB",
		1_000_000_000: "1.0 GB", 24_560_000_000: "24.6 GB", 8_290_123_000_000: "8290.1 GB"} {
		if got := (Limit{Unit: "B"}).Amount(v); got != want {
			t.Errorf("%d: got %q, want %q", v, got, want)
		}
	}
}

// TestMostFiles checks that no more files are proposed than a kernel allows a process.
func TestMostFiles(t *testing.T) {
	const most = "2147483584" // sysctl_nr_open_max in fs/file.c
	got := checks(t, on(t, nil), 2_000_000_000)
	for _, name := range []string{openFiles, "fs.nr_open"} {
		if text := strings.Join(got[name].Change, "|"); !strings.Contains(text, "="+most) ||
			strings.Contains(text, "2200001000") {
			t.Errorf("%s: got %s", name, text)
		}
	}
	got = checks(t, on(t, nil), math.MaxInt32)
	for _, name := range []string{openFiles, "fs.nr_open"} {
		if text := strings.Join(got[name].Change, "|"); strings.Contains(text, "=") ||
			!strings.Contains(text, "more than one server") {
			t.Errorf("%s: got %s", name, text)
		}
	}
}

// TestMost checks that memory limits connections even if it is enough for the likely value, and that a limit that
// binds only in some cases does not.
func TestMost(t *testing.T) {
	for _, tt := range []struct {
		file, text string
		want       int
		by         string
	}{
		{"proc/meminfo", "MemAvailable: 4500000 kB\n", 1043403, "memory"},
		{"proc/sys/net/ipv4/tcp_mem", "1 2000 1500000", 1199900, openFiles},
		{"proc/sys/net/netfilter/nf_conntrack_max", "262144", 1199000, tcpMem},
	} {
		all, err := on(t, map[string]string{tt.file: tt.text,
			"proc/sys/net/netfilter/nf_conntrack_count": "0"}).Checks(Goal{Conns: million, Reserved: 100}, each)
		if err != nil {
			t.Fatal(err)
		}
		if n, name := Most(all); n != tt.want || name != tt.by {
			t.Errorf("%s: got %d by %s, want %d by %s", tt.file, n, name, tt.want, tt.by)
		}
	}
}
