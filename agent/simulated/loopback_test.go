package simulated_test

import (
	"net"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/simulated"
)

func TestReservedPortsAreNobodyElsesAndOpenAgain(t *testing.T) {
	var l simulated.Loopback
	defer l.Close()
	gossip, peer, err := l.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := net.Listen("tcp4", gossip); err == nil {
		s.Close()
		t.Errorf("somebody else listens on %s, which is reserved", gossip)
	}
	for range 2 { // an agent, and the same after a restart
		p, err := l.Packets(gossip)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range []string{gossip, peer} {
			s, err := l.Listen(addr)
			if err != nil {
				t.Fatal(err)
			}
			c, err := l.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			s.Close()
		}
		p.Close()
	}
}

func TestASimulatedFleetReachesNobodyElse(t *testing.T) {
	var l simulated.Loopback
	for _, addr := range []string{"192.0.2.1:80", "0.0.0.0:0", "localhost:80", "[::1]:80", "127.0.0.1"} {
		_, dial := l.Dial(t.Context(), addr)
		_, listen := l.Listen(addr)
		_, packets := l.Packets(addr)
		for _, err := range []error{dial, listen, packets} {
			if err == nil || !strings.Contains(err.Error(), "not an address of this simulated fleet") {
				t.Errorf("%s: %v", addr, err)
			}
		}
	}
}
