//go:build linux

// Command wire carries Ethernet frames between one end of a veth cable and a TAP
// device, holding each frame for a set time: latency and jitter for kernels
// without sch_netem. Linux, standard library only.
package main

import (
	"flag"
	"log"
	"math/rand"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

type frame struct {
	due time.Time
	b   []byte
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// openPacket returns a raw socket bound to the interface, in promiscuous mode.
func openPacket(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, int(htons(syscall.ETH_P_ALL)))
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	sa := &syscall.SockaddrLinklayer{Protocol: htons(syscall.ETH_P_ALL), Ifindex: ifi.Index}
	if err := syscall.Bind(fd, sa); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	mreq := struct {
		ifindex int32
		typ     uint16
		alen    uint16
		addr    [8]byte
	}{ifindex: int32(ifi.Index), typ: 1 /* PACKET_MR_PROMISC */}
	_, _, e := syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), 263 /* SOL_PACKET */, 1, /* ADD_MEMBERSHIP */
		uintptr(unsafe.Pointer(&mreq)), unsafe.Sizeof(mreq), 0)
	if e != 0 {
		return -1, os.NewSyscallError("setsockopt", e)
	}
	return fd, nil
}

func openTap(name string) (int, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR, 0)
	if err != nil {
		return -1, os.NewSyscallError("open /dev/net/tun", err)
	}
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:15], name)
	req.flags = 0x0002 | 0x1000 // IFF_TAP | IFF_NO_PI
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), 0x400454ca, uintptr(unsafe.Pointer(&req))); e != 0 {
		return -1, os.NewSyscallError("TUNSETIFF", e)
	}
	return fd, nil
}

// hold passes frames on in order, each no earlier than its due time.
func hold(in <-chan frame, out func([]byte)) {
	for f := range in {
		if d := time.Until(f.due); d > 0 {
			time.Sleep(d)
		}
		out(f.b)
	}
}

func main() {
	cable := flag.String("cable", "", "the veth end")
	tap := flag.String("tap", "", "the TAP device on the bridge")
	delay := flag.Duration("delay", 0, "how long a frame is held, each way")
	jitter := flag.Duration("jitter", 0, "up to this much more or less")
	queue := flag.Int("queue", 4096, "frames held each way; more are dropped")
	flag.Parse()

	pfd, err := openPacket(*cable)
	if err != nil {
		log.Fatal(err)
	}
	tfd, err := openTap(*tap)
	if err != nil {
		log.Fatal(err)
	}
	due := func() time.Time {
		d := *delay
		if *jitter > 0 {
			d += time.Duration(rand.Int63n(2*int64(*jitter)+1)) - *jitter
		}
		return time.Now().Add(d)
	}
	push := func(c chan frame, b []byte) {
		select {
		case c <- frame{due(), append([]byte(nil), b...)}:
		default: // the queue is full: a wire drops
		}
	}
	toTap, toCable := make(chan frame, *queue), make(chan frame, *queue)
	go hold(toTap, func(b []byte) { syscall.Write(tfd, b) })
	go hold(toCable, func(b []byte) { syscall.Write(pfd, b) })
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := syscall.Read(tfd, b)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				log.Fatal("tap: ", err)
			}
			push(toCable, b[:n])
		}
	}()
	b := make([]byte, 65536)
	for {
		n, from, err := syscall.Recvfrom(pfd, b, 0)
		if err == syscall.EINTR || err == syscall.ENETDOWN {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			log.Fatal("cable: ", err)
		}
		if ll, ok := from.(*syscall.SockaddrLinklayer); ok && ll.Pkttype == 4 { // PACKET_OUTGOING
			continue
		}
		push(toTap, b[:n])
	}
}
