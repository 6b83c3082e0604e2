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
	exists bool
	chains bool // both chains are there, as ours, and no others: rules can be replaced within them
	intact bool // everything is as this version makes it
	sets   []portSet
	others []string // names of sets that are not of the form
	place  map[schema.BlockedPort]portSet
	left   map[schema.BlockedPort]time.Duration
	counts map[string]expr.Counter // by set
}

// BlockedPorts reads our table: each block with the time until the kernel drops it, 0 for never. intact
// is false if somebody has changed anything but elements in it. It wraps errors.ErrUnsupported where the kernel
// has no nf_tables and fs.ErrPermission without CAP_NET_ADMIN.
func (s System) BlockedPorts(ctx context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	conn, err := dialNFT()
	if err != nil {
		return nil, false, err
	}
	defer conn.CloseLasting()
	st, err := readPorts(conn)
	if err != nil {
		return nil, false, err
	}
	return st.left, !st.exists || st.intact, nil
}

// SetBlockedPorts makes these the blocks in our table, in one transaction of the kernel, and reads them
// back. Elements are added and removed where that is enough; where the form is not what these
// blocks need, sets and rules are replaced within the chains, so that no packet finds none; a table that somebody
// has changed otherwise is replaced as a whole. Of no blocks the table is removed. Errors as BlockedPorts.
func (s System) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	conn, err := dialNFT()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, err := readPorts(conn)
		if err != nil {
			return err
		}
		if err := writePorts(conn, st, left); err != nil {
			return err
		}
		s.at("nftables batch")
		err = conn.Flush()
		if err == nil {
			break
		}
		// An element that was to be deleted may have died, or the table changed, since it was read.
		if try < nftRetries && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)) {
			continue
		}
		return nftError("change table inet dunlin", err)
	}
	st, err := readPorts(conn)
	if err != nil {
		return err
	}
	if len(left) > 0 && !st.intact {
		return errors.New("read back table inet dunlin: not as it was written; another program changes it")
	}
	for b, want := range left {
		got, there := st.left[b]
		if !there && want > 0 && want < nftDeadline {
			continue // may have died since
		}
		if !there || (want == 0) != (got == 0) {
			return fmt.Errorf("read back table inet dunlin: block %q is not as it was written", b.Key())
		}
	}
	for b := range st.left {
		if _, wanted := left[b]; !wanted {
			return fmt.Errorf("read back table inet dunlin: block %q is still there", b.Key())
		}
	}
	return nil
}

// dialNFT opens a netlink connection in the network namespace of the calling thread.
func dialNFT() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
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

// readPorts reads our table. Dumps of one table are small: with one set in use it takes seven requests.
func readPorts(conn *nftables.Conn) (portState, error) {
	st := portState{left: map[schema.BlockedPort]time.Duration{}, place: map[schema.BlockedPort]portSet{}, counts: map[string]expr.Counter{}}
	t, err := conn.ListTableOfFamily(portTable, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) {
		return st, nil
	}
	if err != nil {
		return st, nftError("read table inet dunlin", err)
	}
	st.exists, st.chains, st.intact = true, true, true
	if t.Flags != 0 { // dormant, or owned by another process
		st.chains = false
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return st, nftError("read chains", err)
	}
	found := 0
	for _, c := range chains {
		if c.Table == nil || c.Table.Name != portTable {
			continue
		}
		found++
		if !sameChain(chain(t, "in"), c) || c.Name != chain(t, "in").Name {
			if !sameChain(chain(t, "out"), c) || c.Name != chain(t, "out").Name {
				st.chains = false
			}
		}
	}
	st.chains = st.chains && found == 2
	st.intact = st.chains
	sets, err := conn.GetSets(t)
	if err != nil {
		// The library gives up on types it does not know, none of which are ours. A table that has
		// gone since is the one other cause, and is made anew as well.
		st.chains, st.intact = false, false
		return st, nil
	}
	for _, got := range sets {
		ps, ok := parsePortSet(got.Name)
		if !ok || !sameSet(ps.set(t), got) {
			st.intact = false
			st.others = append(st.others, got.Name)
			continue
		}
		st.sets = append(st.sets, ps)
		elements, err := conn.GetSetElements(got)
		if err != nil {
			return st, nftError("read set "+got.Name, err)
		}
		for _, e := range elements {
			b, ok := parseElement(ps, e)
			if !ok || ps.confirmed != (e.Timeout == 0) {
				st.intact = false
				continue
			}
			if _, twice := st.place[b]; twice {
				st.intact = false
				if !ps.confirmed {
					continue // the confirmed one counts
				}
			}
			st.place[b], st.left[b] = ps, 0
			if !ps.confirmed {
				st.left[b] = max(e.Expires, time.Millisecond)
			}
		}
	}
	slices.SortFunc(st.sets, compareSets)
	if !st.chains {
		return st, nil
	}
	for _, dir := range []string{"in", "out"} {
		got, err := conn.GetRules(t, chain(t, dir))
		if err != nil {
			return st, nftError("read rules", err)
		}
		want := rules(dir, st.sets)
		if len(got) != len(want) {
			st.intact = false
			continue
		}
		for i, w := range want {
			if !sameExprs(w, got[i].Exprs, st.counts) {
				st.intact = false
			}
		}
	}
	return st, nil
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

// writePorts queues the batch that makes the table hold these blocks.
func writePorts(conn *nftables.Conn, st portState, left map[schema.BlockedPort]time.Duration) error {
	t := &nftables.Table{Name: portTable, Family: nftables.TableFamilyINet}
	if len(left) == 0 {
		if st.exists {
			conn.DelTable(t)
		}
		return nil
	}
	now := st.place
	if !st.intact || longer(left, st.left) {
		now = nil
	}
	where, err := place(left, now)
	if err != nil {
		return err
	}
	if now != nil && !slices.ContainsFunc(withTwins(where), func(s portSet) bool { return !slices.Contains(st.sets, s) }) {
		return writeElements(conn, t, st, left, where)
	}
	// Blocks keep no place of the old sets: the new ones need no layers but their own.
	if where, err = place(left, nil); err != nil {
		return err
	}
	if st.chains {
		conn.FlushTable(t)
		for _, s := range st.sets {
			conn.DelSet(s.set(t))
		}
		for _, name := range st.others {
			conn.DelSet(&nftables.Set{Table: t, Name: name})
		}
	} else {
		conn.AddTable(t) // so that there is one to delete
		conn.DelTable(t)
		conn.AddTable(t)
		conn.AddChain(chain(t, "in"))
		conn.AddChain(chain(t, "out"))
	}
	sets := withTwins(where)
	bySet := map[portSet][]schema.BlockedPort{}
	for b, s := range where {
		bySet[s] = append(bySet[s], b)
	}
	for _, s := range sets {
		set := s.set(t)
		if err := conn.AddSet(set, nil); err != nil {
			return err
		}
		if err := addElements(conn, set, bySet[s], left); err != nil {
			return err
		}
	}
	for _, dir := range []string{"in", "out"} {
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
	return nil
}

// longer reports whether a block that is there for a time is to have more of it. Kernels before 6.9 may
// crash on an element that is deleted and added in one batch, so that needs new sets.
func longer(want, now map[schema.BlockedPort]time.Duration) bool {
	for b, t := range want {
		if have, there := now[b]; there && have > 0 && t >= have+time.Second {
			return true
		}
	}
	return false
}

// writeElements queues only what differs. Deletions come first, because what is added may overlap what
// goes; packets see neither before the whole batch.
func writeElements(conn *nftables.Conn, t *nftables.Table, st portState, left map[schema.BlockedPort]time.Duration, where map[schema.BlockedPort]portSet) error {
	add, del := map[portSet][]schema.BlockedPort{}, map[portSet][]schema.BlockedPort{}
	for b, s := range where {
		if cur, there := st.place[b]; !there || cur != s {
			add[s] = append(add[s], b)
		}
	}
	for b, s := range st.place {
		if to, stays := where[b]; !stays || to != s {
			del[s] = append(del[s], b)
		}
	}
	for _, s := range st.sets {
		for chunk := range slices.Chunk(del[s], nftChunk) {
			elements := make([]nftables.SetElement, len(chunk))
			for i, b := range chunk {
				e, err := element(b, 0)
				if err != nil {
					return err
				}
				elements[i] = e
			}
			if err := conn.SetDeleteElements(s.set(t), elements); err != nil {
				return err
			}
		}
	}
	for _, s := range st.sets {
		if err := addElements(conn, s.set(t), add[s], left); err != nil {
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
