package inventory

// phasedOut reports whether this host is among those that a phased update
// skips for now: apt draws a number from 0 to 100 that depends on the source
// version and the machine only, and skips the update if it is above the
// percentage (apt's documentation of Phased-Update-Percentage; the draw is that
// of C++'s seed_seq, minstd_rand and uniform_int_distribution as libstdc++ has
// them, ISO C++ [rand.util.seedseq], [rand.eng.lcong]).
func phasedOut(source, sourceVersion, machineID string, percentage int) bool {
	return phaseDraw(source+"-"+sourceVersion+"-"+machineID) > percentage
}

func phaseDraw(seed string) int {
	const (
		modulus    = 2147483647
		multiplier = 48271
		outcomes   = 101 // 0 to 100
	)
	x := uint64(seedSequence(seed)[3]) % modulus
	if x == 0 {
		x = 1
	}
	// The generator gives 1 to modulus-1; uniform_int_distribution divides the
	// range evenly and draws again in the remainder.
	const scale = (modulus - 2) / outcomes
	for {
		x = x * multiplier % modulus
		if v := x - 1; v < scale*outcomes {
			return int(v / scale)
		}
	}
}

// seedSequence is std::seed_seq::generate for four words.
func seedSequence(seed string) [4]uint32 {
	const n = 4
	var b [n]uint32
	for i := range b {
		b[i] = 0x8b8b8b8b
	}
	s := len(seed)
	const (
		t = (n - 1) / 2
		p = (n - t) / 2
		q = p + t
	)
	m := max(s+1, n)
	mix := func(x uint32) uint32 { return x ^ x>>27 }
	for k := range m {
		r := 1664525 * mix(b[k%n]^b[(k+p)%n]^b[(k+n-1)%n])
		r2 := r + uint32(k%n)
		switch {
		case k == 0:
			r2 = r + uint32(s)
		case k <= s:
			r2 = r + uint32(k%n) + uint32(int32(int8(seed[k-1])))
		}
		b[(k+p)%n] += r
		b[(k+q)%n] += r2
		b[k%n] = r2
	}
	for k := m; k < m+n; k++ {
		r := 1566083941 * mix(b[k%n]+b[(k+p)%n]+b[(k+n-1)%n])
		r2 := r - uint32(k%n)
		b[(k+p)%n] ^= r
		b[(k+q)%n] ^= r2
		b[k%n] = r2
	}
	return b
}
