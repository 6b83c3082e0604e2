package inventory

// identity tells two builds of the same version apart, as apt does: it merges
// an installed version with one of a list only if they agree in their
// relations, sizes and multi-arch field. A package built locally under the
// archive's version is thus not from the archive.
type identity struct {
	hash  uint64 // of Installed-Size and the relations
	multi uint8
	size  uint64 // of the archive; 0 is unknown and agrees with every size
}

func (a identity) same(b identity) bool {
	return a.hash == b.hash && a.multi == b.multi && (a.size == 0 || b.size == 0 || a.size == b.size)
}

const (
	multiNo = iota
	multiSame
	multiForeign
	multiAllowed
	multiAll = 0x80 // flag: architecture all
)

// identityBuilder gathers the fields of one stanza.
type identityBuilder struct {
	v     [7][]byte // installed-size, depends, pre-depends, conflicts, breaks, replaces, multi-arch
	bytes []byte    // size
}

// add takes note of a field, if it is one that matters.
func (b *identityBuilder) add(key, v []byte) {
	if len(key) < 4 {
		return
	}
	switch lower(key[0]) {
	case 'i':
		if is(key, "Installed-Size") {
			b.v[0] = v
		}
	case 'd':
		if is(key, "Depends") {
			b.v[1] = v
		}
	case 'p':
		if is(key, "Pre-Depends") {
			b.v[2] = v
		}
	case 'c':
		if is(key, "Conflicts") {
			b.v[3] = v
		}
	case 'b':
		if is(key, "Breaks") {
			b.v[4] = v
		}
	case 'r':
		if is(key, "Replaces") {
			b.v[5] = v
		}
	case 'm':
		if is(key, "Multi-Arch") {
			b.v[6] = v
		}
	case 's':
		if is(key, "Size") {
			b.bytes = v
		}
	}
}

func (b *identityBuilder) done(all bool) identity {
	// FNV-1a over the texts without what dpkg rewrites when it stores them:
	// space, the = of relations, zero epochs, case.
	h := uint64(14695981039346656037)
	for _, v := range b.v[:6] {
		for i := 0; i < len(v); i++ {
			c := v[i]
			if c == '0' && i+1 < len(v) && v[i+1] == ':' {
				i++
				continue
			}
			if isSpace(c) || c == '=' {
				continue
			}
			h = (h ^ uint64(lower(c))) * 1099511628211
		}
	}
	id := identity{hash: h}
	switch string(b.v[6]) {
	case "same":
		if !all {
			id.multi = multiSame
		}
	case "foreign":
		id.multi = multiForeign
	case "allowed":
		id.multi = multiAllowed
	}
	if all {
		id.multi |= multiAll
	}
	for _, c := range b.bytes {
		if !isDigit(c) || id.size > 1<<58 {
			break
		}
		id.size = id.size*10 + uint64(c-'0')
	}
	return id
}
