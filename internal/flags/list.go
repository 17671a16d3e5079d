package flags

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/alecthomas/kong"
)

// List is the values of a flag that is repeated, or has several separated by commas; a comma within a value is
// written \,. Spaces around values do not count, and empty values are left out, but one must remain: a list whose
// variable is not set must not look like no list.
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

// Networks is a List of networks, as 10.0.0.0/8, or single addresses.
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

// parseNetwork reads a network. An IPv4-mapped one (RFC 4291, section 2.5.5.2) is the IPv4 network that it stands
// for. Bits after the prefix's length are dropped: addresses of interfaces are written so.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("is %q, want a network as 10.0.0.0/8 or 2001:db8::/32, or an address", text)
	}
	if addr := network.Addr(); addr.Is4In6() {
		if network.Bits() < 96 {
			return network, fmt.Errorf("is %q, want at least /96 after an IPv4-mapped address, or the IPv4 network as 10.0.0.0/8", text)
		}
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}
