package schema

import (
	"fmt"
	"net/netip"
)

// Canonical is the block with its network masked, so that equal blocks are equal values, and checked:
// ports from 1, tcp or udp, in or out, from `any` or an IPv4 or IPv6 network.
func (b BlockedPort) Canonical() (BlockedPort, error) {
	switch {
	case b.Port.First == 0 || b.Port.Last < b.Port.First:
		return b, fmt.Errorf("%q is not a port from 1 to 65535 or a range of them", b.Port)
	case b.Protocol != "tcp" && b.Protocol != "udp":
		return b, fmt.Errorf("protocol %q is not tcp or udp", b.Protocol)
	case b.Direction != "in" && b.Direction != "out":
		return b, fmt.Errorf("direction %q is not in or out", b.Direction)
	case b.From == "any":
		return b, nil
	}
	p, err := netip.ParsePrefix(b.From)
	if err != nil || p.Addr().Is4In6() {
		return b, fmt.Errorf("from %q is not any or an IPv4 or IPv6 network such as \"10.0.0.0/8\"", b.From)
	}
	b.From = p.Masked().String()
	return b, nil
}

// SSHSession is a person's open SSH connection to this host.
type SSHSession struct {
	Port uint16     `json:"port"` // on this host
	Peer netip.Addr `json:"peer"` // where it comes from; invalid where that is not known
}
