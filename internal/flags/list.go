package flags

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/alecthomas/kong"
)

// List has the values of a flag that may be repeated, or have several values separated by commas; a comma within a
// value is written \,. Spaces around values and empty values are ignored, but one value must remain. Otherwise a list
// whose shell variable is not set would look like a flag that is not given.
type List []string

// UnmarshalText adds to the list.
func (l *List) UnmarshalText(text []byte) error {
	items, err := split(text)
	*l = append(*l, items...)
	return err
}

// split returns the values of a list.
func split(text []byte) ([]string, error) {
	var items []string
	for _, item := range kong.SplitEscaped(string(text), ',') {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	if len(items) == 0 {
		return nil, errors.New("is empty, want at least one value, or leave it out")
	}
	return items, nil
}

// Networks is a List of networks, such as 10.0.0.0/8, or single addresses.
type Networks []netip.Prefix

// UnmarshalText adds to the list.
func (l *Networks) UnmarshalText(text []byte) error {
	items, err := split(text)
	for _, item := range items {
		network, err := parseNetwork(item)
		if err != nil {
			return err
		}
		*l = append(*l, network)
	}
	return err
}

// parseNetwork parses a network. An IPv4-mapped network (RFC 4291, section 2.5.5.2) becomes the IPv4 network. Bits
// after the prefix are dropped, because addresses of interfaces have such bits.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("is %q, want a network such as 10.0.0.0/8 or 2001:db8::/32, or an address", text)
	}
	if addr := network.Addr(); addr.Is4In6() {
		if network.Bits() < 96 {
			return network, fmt.Errorf("is %q, want at least /96 after an IPv4-mapped address, "+
				"or the IPv4 network such as 10.0.0.0/8", text)
		}
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}
