package inventory

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"time"
)

// Type is the name of an inventory type of SSM (API 2014-11-06).
type Type string

// The types that are gathered here, with the attributes of
// sysman-inventory-schema 1.0 (applications 1.1).
const (
	ApplicationType                 Type = "AWS:Application"
	InstanceInformationType         Type = "AWS:InstanceInformation"
	NetworkType                     Type = "AWS:Network"
	InstanceDetailedInformationType Type = "AWS:InstanceDetailedInformation"
	ServiceType                     Type = "AWS:Service"
)

// Types lists all types, in the order in which they are shown.
func Types() []Type {
	return []Type{InstanceInformationType, InstanceDetailedInformationType, NetworkType, ServiceType, ApplicationType}
}

// Application is an installed package. Version and Architecture are the package
// manager's own strings; Release and Epoch are for RPM only.
type Application struct {
	Name            string `json:"Name"`
	ApplicationType string `json:"ApplicationType,omitempty"` // the package's section
	Publisher       string `json:"Publisher,omitempty"`       // its maintainer
	Version         string `json:"Version"`
	InstalledTime   string `json:"InstalledTime,omitempty"` // RFC 3339, UTC, seconds
	Architecture    string `json:"Architecture"`
	URL             string `json:"URL,omitempty"`
	Summary         string `json:"Summary,omitempty"`
	PackageID       string `json:"PackageId,omitempty"` // its source package
}

// InstanceInformation is the host itself.
type InstanceInformation struct {
	AgentType       string `json:"AgentType"`
	AgentVersion    string `json:"AgentVersion"`
	ComputerName    string `json:"ComputerName"`
	InstanceID      string `json:"InstanceId,omitempty"`
	IPAddress       string `json:"IpAddress,omitempty"`
	PlatformName    string `json:"PlatformName"`
	PlatformType    string `json:"PlatformType"`
	PlatformVersion string `json:"PlatformVersion"`
	ResourceType    string `json:"ResourceType"`
}

// Network is one interface; lists are joined with commas, as SSM has them.
type Network struct {
	Name       string `json:"Name"`
	MacAddress string `json:"MacAddress,omitempty"`
	IPv4       string `json:"IPV4,omitempty"`
	IPv6       string `json:"IPV6,omitempty"`
}

// InstanceDetailedInformation is the host's processor and kernel.
type InstanceDetailedInformation struct {
	CPUModel              string `json:"CPUModel,omitempty"`
	CPUCores              int    `json:"CPUCores"`
	CPUs                  int    `json:"CPUs"`
	CPUSpeedMHz           int    `json:"CPUSpeedMHz"`
	CPUSockets            int    `json:"CPUSockets"`
	CPUHyperThreadEnabled string `json:"CPUHyperThreadEnabled"` // true or false
	KernelVersion         string `json:"KernelVersion,omitempty"`
}

// Service is a service unit of systemd, in SSM's words for Windows.
type Service struct {
	Name        string `json:"Name"`
	DisplayName string `json:"DisplayName,omitempty"`
	ServiceType string `json:"ServiceType"`         // the unit's kind: service
	Status      string `json:"Status"`              // Running, Stopped, StartPending, StopPending
	StartType   string `json:"StartType,omitempty"` // Automatic: a link in a .wants folder starts it; Disabled: masked; Manual: neither
}

// Unit is what systemd says of a loaded unit (ListUnits of org.freedesktop.systemd1.Manager).
type Unit struct {
	Name, Description, LoadState, ActiveState, SubState string
}

// Gather says where inventory types come from.
type Gather struct {
	Root         string // the host's root folder; "" is "/"
	AgentVersion string
	InstanceID   string // the node's id, or empty
	// Units lists the loaded units; nil, or an error wrapping
	// errors.ErrUnsupported, where systemd does not run.
	Units func(context.Context) ([]Unit, error)
}

// Applications lists the packages on the disk, also those that are not (yet)
// configured, by name and architecture.
func (g Gather) Applications(ctx context.Context) ([]Application, error) {
	t := newTree(g.Root)
	unpacked, err := newTimes(t)
	if err != nil {
		return nil, err
	}
	pkgs, err := readStatus(ctx, t, false, unpacked.add)
	at := unpacked.all()
	if err != nil {
		return nil, err
	}
	out := make([]Application, len(pkgs))
	var stamps []byte
	for i := range pkgs {
		p := &pkgs[i]
		out[i] = Application{Name: p.Name, ApplicationType: p.Section, Publisher: p.Maintainer, Version: p.Version,
			Architecture: p.Arch, URL: p.Homepage, Summary: p.Summary, PackageID: p.Source}
		if !at[i].IsZero() {
			stamps = at[i].UTC().AppendFormat(stamps[:0], time.RFC3339)
			out[i].InstalledTime = string(stamps)
		}
	}
	order := func(a, b Application) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	}
	if !slices.IsSortedFunc(out, order) { // as dpkg writes them
		slices.SortStableFunc(out, order)
	}
	return out, nil
}

// Instance describes the host.
func (g Gather) Instance() ([]InstanceInformation, error) {
	t := newTree(g.Root)
	os, err := readOS(t)
	if err != nil {
		return nil, err
	}
	i := InstanceInformation{AgentType: "dunlin", AgentVersion: g.AgentVersion, ComputerName: hostName(t), InstanceID: g.InstanceID,
		PlatformName: os.name, PlatformType: "Linux", PlatformVersion: os.versionID, ResourceType: "ManagedInstance"}
	if t.native() {
		i.IPAddress = firstAddress()
	}
	return []InstanceInformation{i}, nil
}

func hostName(t tree) string {
	file := "/etc/hostname"
	if t.native() {
		file = "/proc/sys/kernel/hostname"
	}
	b, err := t.read(file, 4096)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Networks lists this machine's interfaces; empty for a foreign root, whose
// interfaces no file tells.
func (g Gather) Networks() ([]Network, error) {
	if !newTree(g.Root).native() {
		return []Network{}, nil
	}
	return networks()
}

// Details describes this machine's processors and kernel.
func (g Gather) Details() ([]InstanceDetailedInformation, error) {
	t := newTree(g.Root)
	b, err := t.read("/proc/cpuinfo", 16<<20)
	if isNotExist(err) && !t.native() {
		return []InstanceDetailedInformation{}, nil // a folder, not a running host
	}
	if err != nil {
		return nil, err
	}
	d := parseCPUInfo(string(b))
	if b, err := t.read("/proc/sys/kernel/osrelease", 4096); err == nil {
		d.KernelVersion = strings.TrimSpace(string(b))
	}
	return []InstanceDetailedInformation{d}, nil
}

// unitFolders are systemd's, the first to know a unit wins (systemd.unit(5)).
var unitFolders = [...]string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// Services lists the service units that are loaded or have a unit file, by
// name. Without a running systemd there are none.
func (g Gather) Services(ctx context.Context) ([]Service, error) {
	if g.Units == nil {
		return []Service{}, nil
	}
	units, err := g.Units(ctx)
	if isUnsupported(err) {
		return []Service{}, nil
	}
	if err != nil {
		return nil, err
	}
	files, wanted, err := unitFiles(newTree(g.Root))
	if err != nil {
		return nil, err
	}
	byName := make(map[string]Service, len(units)+len(files))
	for name := range files {
		byName[name] = Service{Name: name, ServiceType: "service", Status: "Stopped"}
	}
	for _, u := range units {
		if !strings.HasSuffix(u.Name, ".service") || u.LoadState == "not-found" {
			continue
		}
		s := Service{Name: u.Name, DisplayName: u.Description, ServiceType: "service", Status: "Stopped"}
		if s.DisplayName == u.Name {
			s.DisplayName = ""
		}
		switch u.ActiveState {
		case "active", "reloading", "refreshing":
			if u.SubState != "exited" { // done, and remembered as active
				s.Status = "Running"
			}
		case "activating":
			s.Status = "StartPending"
		case "deactivating":
			s.Status = "StopPending"
		}
		byName[u.Name] = s
	}
	out := make([]Service, 0, len(byName))
	for name, s := range byName {
		switch {
		case files[name]:
			s.StartType = "Disabled"
		case wanted[name]:
			s.StartType = "Automatic"
		default:
			s.StartType = "Manual"
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// unitFiles gives the service units with a file (true: masked; no templates, no
// aliases) and those that a link in a .wants or .requires folder starts.
func unitFiles(t tree) (files, wanted map[string]bool, err error) {
	files, wanted = map[string]bool{}, map[string]bool{}
	seen := map[string]bool{}
	for _, dir := range unitFolders {
		real, err := t.locate(dir)
		if err != nil || seen[real] { // /lib is /usr/lib on merged hosts
			continue
		}
		names, err := t.names(dir)
		if err != nil {
			return nil, nil, err
		}
		seen[real] = true
		for _, n := range names {
			switch {
			case strings.HasSuffix(n, ".wants"), strings.HasSuffix(n, ".requires"), strings.HasSuffix(n, ".upholds"):
				links, err := t.names(path.Join(dir, n))
				if err != nil {
					continue // a file of that name
				}
				for _, l := range links {
					wanted[l] = true
				}
			case strings.HasSuffix(n, ".service") && !strings.HasSuffix(n, "@.service"):
				if _, known := files[n]; known {
					continue
				}
				switch masked, alias := t.unitLink(path.Join(dir, n)); {
				case masked:
					files[n] = true
				case !alias:
					files[n] = false
				}
			}
		}
	}
	return files, wanted, nil
}
