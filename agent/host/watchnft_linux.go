package host

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// note remembers the address of a netlink connection.
func (o *ownSockets) note(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		if at, err := unix.Getsockname(int(fd)); err == nil {
			if nl, ok := at.(*unix.SockaddrNetlink); ok {
				o.add(nl.Pid)
			}
		}
	})
}

// portWatch listens to what the kernel tells of changes to nf_tables.
type portWatch struct {
	tell func(Drift)
	own  *ownSockets
	line line
	conn *netlink.Conn
	// touched has the sockets whose transaction, of which not all was told yet, has touched our table.
	touched map[uint32]bool
}

func newPortWatch(h *hints, log func(string), own *ownSockets) *portWatch {
	return &portWatch{tell: h.tell, own: own, touched: map[uint32]bool{}, line: line{log: log, what: "the firewall"}}
}

// open begins: what changes after it is told of by run.
func (w *portWatch) open() error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return nftError("listen to changes", err)
	}
	_ = conn.SetReadBuffer(nftBuffer) // another's large batch must not push out what follows it
	w.conn = conn
	return nil
}

// run tells of changes until ctx ends. A connection that fails is made again, and then the table is looked at.
func (w *portWatch) run(ctx context.Context) {
	for {
		var err error
		if w.conn == nil {
			if err = w.open(); err == nil {
				w.tell(Drift{Resource: driftPorts})
			}
		}
		if err == nil {
			w.line.up()
			err = w.listen(ctx)
		}
		if !w.line.down(ctx, err) {
			return
		}
	}
}

// listen tells of changes until the connection ends.
func (w *portWatch) listen(ctx context.Context) error {
	conn := w.conn
	w.conn = nil
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	clear(w.touched)
	for {
		messages, err := conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			// More was told than the socket holds.
			clear(w.touched)
			w.tell(Drift{Resource: driftPorts})
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range messages {
			w.heard(m.Header, m.Data)
		}
	}
}

// maxTouched bounds transactions that wait for their end; there is one at a time.
const maxTouched = 64

// heard takes one message. Those of a transaction come first, each with the table that it is about, then one that says
// who made it (enum nf_tables_msg_types and nft_gen_attributes of linux/netfilter/nf_tables.h).
func (w *portWatch) heard(h netlink.Header, data []byte) {
	if uint16(h.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES || len(data) < sizeNFGenMsg || w.own.has(h.PID) {
		return
	}
	if uint16(h.Type)&0xff == unix.NFT_MSG_NEWGEN {
		if w.touched[h.PID] {
			delete(w.touched, h.PID)
			w.tell(Drift{driftPorts, generationBy(data[sizeNFGenMsg:])})
		}
		return
	}
	if data[0] == unix.NFPROTO_INET && tableOf(data[sizeNFGenMsg:]) == portTable {
		if len(w.touched) >= maxTouched {
			clear(w.touched)
		}
		w.touched[h.PID] = true
	}
}

// sizeNFGenMsg is the header of each message of nf_tables: family, version, resource.
const sizeNFGenMsg = 4

// tableOf is the name of the table that a message is about: attribute 1 of all of them (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, ...).
func tableOf(attributes []byte) string {
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return ""
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_TABLE_NAME {
			return ad.String()
		}
	}
	return ""
}

// generationBy is who made a transaction.
func generationBy(attributes []byte) string {
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return ""
	}
	ad.ByteOrder = binary.BigEndian
	var thread uint32
	name := ""
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_GEN_PROC_PID:
			thread = ad.Uint32()
		case unix.NFTA_GEN_PROC_NAME:
			name = ad.String()
		}
	}
	if ad.Err() != nil {
		return ""
	}
	return processText(name, int(thread), initialProcesses())
}
