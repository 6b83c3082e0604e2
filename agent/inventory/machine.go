package inventory

import (
	"errors"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

func isUnsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// unitLink reports whether a unit file is masked (a link to /dev/null, or
// empty) or only another name of a unit.
func (t tree) unitLink(p string) (masked, alias bool) {
	at := filepath.Join(t.root, filepath.FromSlash(p))
	if dir, err := t.locate(path.Dir(p)); err == nil {
		at = filepath.Join(dir, path.Base(p))
	}
	target, err := os.Readlink(at)
	if err != nil {
		st, err := os.Lstat(at)
		return err == nil && st.Size() == 0 && st.Mode().IsRegular(), false
	}
	if target == "/dev/null" {
		return true, false
	}
	return false, path.Base(target) != path.Base(p)
}

// networks lists interfaces with their addresses.
func networks() ([]Network, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]Network, 0, len(ifs))
	for _, i := range ifs {
		n := Network{Name: i.Name, MacAddress: i.HardwareAddr.String()}
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface went away meanwhile
		}
		var v4, v6 []string
		for _, a := range addrs {
			ip, ok := a.(*net.IPNet)
			switch {
			case !ok:
			case ip.IP.To4() != nil:
				v4 = append(v4, ip.IP.String())
			default:
				v6 = append(v6, ip.IP.String())
			}
		}
		n.IPv4, n.IPv6 = strings.Join(v4, ","), strings.Join(v6, ",")
		out = append(out, n)
	}
	return out, nil
}

// firstAddress is the first IPv4 address, else IPv6, that leads outside.
func firstAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	six := ""
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || !ip.IP.IsGlobalUnicast() {
			continue
		}
		if ip.IP.To4() != nil {
			return ip.IP.String()
		}
		if six == "" {
			six = ip.IP.String()
		}
	}
	return six
}

// parseCPUInfo reads Linux's /proc/cpuinfo. Architectures that do not name
// sockets and cores count every processor as a core of one socket.
func parseCPUInfo(s string) InstanceDetailedInformation {
	d := InstanceDetailedInformation{CPUHyperThreadEnabled: "false"}
	type core struct{ socket, id string }
	cores, sockets := map[core]bool{}, map[string]bool{}
	var at core
	flush := func() {
		if at.socket != "" {
			sockets[at.socket] = true
			cores[at] = true
		}
		at = core{}
	}
	for line := range strings.Lines(s) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			flush()
			continue
		}
		switch v = strings.TrimSpace(v); strings.TrimSpace(k) {
		case "processor":
			flush()
			d.CPUs++
		case "model name", "cpu model", "cpu":
			if d.CPUModel == "" {
				d.CPUModel = v
			}
		case "cpu MHz":
			if mhz, err := strconv.ParseFloat(v, 64); err == nil && d.CPUSpeedMHz == 0 && mhz > 0 && mhz < 1e6 {
				d.CPUSpeedMHz = int(mhz)
			}
		case "physical id":
			at.socket = v
		case "core id":
			at.id = v
		}
	}
	flush()
	d.CPUSockets, d.CPUCores = max(1, len(sockets)), len(cores)
	if d.CPUCores == 0 {
		d.CPUCores = d.CPUs
	}
	if d.CPUCores < d.CPUs {
		d.CPUHyperThreadEnabled = "true"
	}
	return d
}
