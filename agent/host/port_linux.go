package host

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// portTable is our table, family inet.
const portTable = "dunlin"

const (
	nftDeadline = 10 * time.Second // for the answers to one request
	nftBuffer   = 8 << 20          // socket buffers: a batch is one message, and all its answers come at once
	nftRetries  = 5                // elements may die, or others change our table, between reading and writing
	nftChunk    = 500              // elements in one attribute, which holds 64 KiB
)

// portState is what was read of our table.
type portState struct {
	exists   bool
	chains   bool // both chains are there and as ours: everything else can be mended around them
	rules    bool // the rules are those of sets
	sets     []portSet
	elements map[portSet][]portElement
	junk     map[portSet][]nftables.SetElement // elements that are no blocks
	others   []string                          // sets that are not of the form
	foreign  []string                          // chains that are not ours
	counts   map[string]expr.Counter           // by set
}

// intact reports whether everything is as this version makes it.
func (st portState) intact() bool {
	return st.chains && st.rules && len(st.junk)+len(st.others)+len(st.foreign) == 0
}

// left is each block with the time until the kernel drops it. One that is being confirmed may be in both twins.
func (st portState) left() map[schema.BlockedPort]time.Duration {
	out := map[schema.BlockedPort]time.Duration{}
	for s, elements := range st.elements {
		for _, e := range elements {
			switch have, there := out[e.block]; {
			case s.confirmed:
				out[e.block] = 0
			case !there || have > 0 && have < e.expires:
				out[e.block] = e.expires
			}
		}
	}
	return out
}

// BlockedPorts reads our table: each block with the time until the kernel drops it, 0 for never. intact
// is false if somebody has changed anything but elements in it. It wraps errors.ErrUnsupported where the kernel
// has no nf_tables and fs.ErrPermission without CAP_NET_ADMIN.
func (s System) BlockedPorts(ctx context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	conn, err := dialNFT(s.own)
	if err != nil {
		return nil, false, err
	}
	defer conn.CloseLasting()
	st, err := readPorts(conn)
	if err != nil {
		return nil, false, err
	}
	return st.left(), !st.exists || st.intact(), nil
}

// SetBlockedPorts makes these the blocks in our table and reads them back. All that is new goes in by one
// transaction of the kernel, and all that is no longer wanted by a second: a set of intervals shows what was
// added an instant after it has hidden what was deleted, and no packet may meet that instant. What somebody else
// put into the table goes; sets, chains and the rules' counters stay. A table whose chains are
// not ours, which blocked nothing as it should, is replaced whole. Of no blocks the table is removed.
// Errors as BlockedPorts.
func (s System) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	conn, err := dialNFT(s.own)
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.writePorts(conn, left)
		if err == nil {
			break
		}
		// An element that was to be deleted may have died, or the table changed, since it was read.
		if try < nftRetries && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY)) {
			continue
		}
		return err
	}
	st, err := readPorts(conn)
	if err != nil {
		return err
	}
	if len(left) > 0 && !st.intact() {
		return errors.New("read back table inet dunlin: not as it was written; another program changes it")
	}
	is := st.left()
	for b, want := range left {
		got, there := is[b]
		if !there && want > 0 && want < nftDeadline {
			continue // may have died since
		}
		if !there || (want == 0) != (got == 0) {
			return fmt.Errorf("read back table inet dunlin: block %q is not as it was written", b.Key())
		}
	}
	for b := range is {
		if _, wanted := left[b]; !wanted {
			return fmt.Errorf("read back table inet dunlin: block %q is still there", b.Key())
		}
	}
	return nil
}

// dialNFT opens a netlink connection in the network namespace of the calling thread.
func dialNFT(own *ownSockets) (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := own.note(c); err != nil {
			return err
		}
		// Large batches need it; without the right to it the kernel's limit must do.
		c.SetWriteBuffer(nftBuffer)
		c.SetReadBuffer(nftBuffer)
		return c.SetDeadline(time.Now().Add(nftDeadline))
	}))
	if err != nil {
		return nil, nftError("open netlink", err)
	}
	return conn, nil
}

// nftError adds what to do to the errors of a kernel or a process that cannot do this.
func nftError(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("nf_tables: %s: %w (run as root, or with CAP_NET_ADMIN over this network namespace)", what, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOPROTOOPT):
		return fmt.Errorf("nf_tables: %s: %w: %w (the kernel must be 5.6 or newer and have CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_CT and CONFIG_NFT_FIB_INET, built in or as modules that can be loaded)", what, errors.ErrUnsupported, err)
	}
	return fmt.Errorf("nf_tables: %s: %w", what, err)
}

// readPorts reads our table. Dumps of one table are small: with one set and its twin it takes eight requests.
func readPorts(conn *nftables.Conn) (portState, error) {
	st := portState{elements: map[portSet][]portElement{}, junk: map[portSet][]nftables.SetElement{}, counts: map[string]expr.Counter{}}
	t, err := conn.ListTableOfFamily(portTable, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return st, nil
	}
	if err != nil {
		return st, nftError("read table inet dunlin", err)
	}
	st.exists = true
	if t.Flags != 0 { // asleep, or owned by another process
		return st, nil
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return st, nftError("read chains", err)
	}
	ours := map[string]*nftables.Chain{}
	for _, dir := range directions() {
		ours[chain(t, dir).Name] = chain(t, dir)
	}
	right := 0
	for _, c := range chains {
		if c.Table == nil || c.Table.Name != portTable {
			continue
		}
		switch want := ours[c.Name]; {
		case want == nil:
			st.foreign = append(st.foreign, c.Name)
		case sameChain(want, c):
			right++
		}
	}
	if st.chains = right == len(ours); !st.chains {
		return st, nil
	}
	if err := st.readSets(conn, t); err != nil {
		return st, err
	}
	st.rules = true
	for _, dir := range directions() {
		got, err := conn.GetRules(t, chain(t, dir))
		if err != nil {
			return st, nftError("read rules", err)
		}
		want := rules(dir, st.sets)
		st.rules = st.rules && len(got) == len(want)
		for i := range min(len(got), len(want)) {
			st.rules = sameExprs(want[i], got[i].Exprs, st.counts) && st.rules
		}
	}
	return st, nil
}

// directions are those of traffic, in the order of their chains.
func directions() [2]string { return [2]string{"in", "out"} }

// readSets reads the sets and their elements.
func (st *portState) readSets(conn *nftables.Conn, t *nftables.Table) error {
	sets, err := conn.GetSets(t)
	if err != nil {
		// The library gives up on types it does not know, none of which are ours. A table that has
		// gone since is the one other cause, and is made anew as well.
		st.chains = false
		return nil
	}
	for _, got := range sets {
		ps, ok := parsePortSet(got.Name)
		if !ok || !sameSet(ps.set(t), got) {
			st.others = append(st.others, got.Name)
			continue
		}
		st.sets = append(st.sets, ps)
		elements, err := conn.GetSetElements(got)
		if err != nil {
			return nftError("read set "+got.Name, err)
		}
		for _, e := range elements {
			b, ok := parseElement(ps, e)
			if !ok || ps.confirmed != (e.Timeout == 0) {
				st.junk[ps] = append(st.junk[ps], e)
				continue
			}
			if !ps.confirmed {
				e.Expires = max(e.Expires, time.Millisecond)
			}
			st.elements[ps] = append(st.elements[ps], portElement{b, e.Expires})
		}
	}
	slices.SortFunc(st.sets, compareSets)
	return nil
}

// sameExprs compares a rule with what was read and keeps its counter.
func sameExprs(want rule, got []expr.Any, counts map[string]expr.Counter) bool {
	if len(want.exprs) != len(got) {
		return false
	}
	for i, e := range got {
		if c, ok := e.(*expr.Counter); ok && want.set != "" {
			counts[want.set] = *c
			e = &expr.Counter{}
		}
		if !reflect.DeepEqual(want.exprs[i], e) {
			return false
		}
	}
	return true
}

// writePorts reads the table and makes it hold these blocks.
func (s System) writePorts(conn *nftables.Conn, left map[schema.BlockedPort]time.Duration) error {
	st, err := readPorts(conn)
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: portTable, Family: nftables.TableFamilyINet}
	flush := func() error {
		s.at("nftables batch")
		if err := conn.Flush(); err != nil {
			return nftError("change table inet dunlin", err)
		}
		return nil
	}
	if len(left) == 0 {
		if !st.exists {
			return nil
		}
		conn.DelTable(t)
		return flush()
	}
	where, err := place(left, st.elements)
	if err != nil {
		return err
	}
	changes, err := queueAdditions(conn, t, st, left, where)
	if err != nil {
		return err
	}
	if changes {
		if err := flush(); err != nil {
			return err
		}
	}
	if changes, err = queueDeletions(conn, t, st, where); err != nil || !changes {
		return err
	}
	return flush()
}

// queueAdditions queues what brings new blocks, makes the form right and takes out what is not ours.
func queueAdditions(conn *nftables.Conn, t *nftables.Table, st portState, left map[schema.BlockedPort]time.Duration, where map[schema.BlockedPort]portSet) (changes bool, err error) {
	if !st.chains {
		st.sets, st.rules, changes = nil, false, true
		conn.AddTable(t) // so that there is one to delete
		conn.DelTable(t)
		conn.AddTable(t)
		for _, dir := range directions() {
			conn.AddChain(chain(t, dir))
		}
	}
	sets := withTwins(st.sets, where)
	rewrite := !st.rules || len(sets) != len(st.sets) || len(st.others)+len(st.foreign) > 0
	if rewrite && st.chains {
		conn.FlushTable(t)
		for _, name := range st.foreign {
			conn.DelChain(&nftables.Chain{Table: t, Name: name})
		}
		for _, name := range st.others {
			conn.DelSet(&nftables.Set{Table: t, Name: name})
		}
	}
	for ps, junk := range st.junk {
		changes = true
		if err := deleteElements(conn, ps.set(t), junk); err != nil {
			return false, err
		}
	}
	add := map[portSet][]schema.BlockedPort{}
	for b, ps := range where {
		if !slices.ContainsFunc(st.elements[ps], func(e portElement) bool { return e.block == b }) {
			add[ps] = append(add[ps], b)
		}
	}
	for _, ps := range sets {
		set := ps.set(t)
		if !slices.Contains(st.sets, ps) {
			if err := conn.AddSet(set, nil); err != nil {
				return false, err
			}
		}
		if len(add[ps]) > 0 {
			changes = true
			if err := addElements(conn, set, add[ps], left); err != nil {
				return false, err
			}
		}
	}
	if !rewrite {
		return changes, nil
	}
	for _, dir := range directions() {
		for _, r := range rules(dir, sets) {
			for i, e := range r.exprs {
				if _, ok := e.(*expr.Counter); ok {
					c := st.counts[r.set]
					r.exprs[i] = &c
				}
			}
			conn.AddRule(&nftables.Rule{Table: t, Chain: chain(t, dir), Exprs: r.exprs, UserData: r.userData()})
		}
	}
	return true, nil
}

// queueDeletions queues what takes out the elements that are not where they should be.
func queueDeletions(conn *nftables.Conn, t *nftables.Table, st portState, where map[schema.BlockedPort]portSet) (changes bool, err error) {
	for ps, elements := range st.elements {
		var gone []nftables.SetElement
		for _, e := range elements {
			if to, stays := where[e.block]; stays && to == ps {
				continue
			}
			x, err := element(e.block, 0)
			if err != nil {
				return false, err
			}
			gone = append(gone, x)
		}
		if len(gone) == 0 {
			continue
		}
		changes = true
		if err := deleteElements(conn, ps.set(t), gone); err != nil {
			return false, err
		}
	}
	return changes, nil
}

func deleteElements(conn *nftables.Conn, set *nftables.Set, elements []nftables.SetElement) error {
	for chunk := range slices.Chunk(elements, nftChunk) {
		for i := range chunk {
			chunk[i].Timeout, chunk[i].Comment = 0, "" // the keys name them
		}
		if err := conn.SetDeleteElements(set, chunk); err != nil {
			return err
		}
	}
	return nil
}

func addElements(conn *nftables.Conn, set *nftables.Set, bs []schema.BlockedPort, left map[schema.BlockedPort]time.Duration) error {
	slices.SortFunc(bs, compareBlocks)
	for chunk := range slices.Chunk(bs, nftChunk) {
		elements := make([]nftables.SetElement, len(chunk))
		for i, b := range chunk {
			e, err := element(b, left[b])
			if err != nil {
				return err
			}
			elements[i] = e
		}
		if err := conn.SetAddElements(set, elements); err != nil {
			return err
		}
	}
	return nil
}
