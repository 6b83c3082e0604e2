package host

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// What a package may be called before it becomes an argument of apt-get (Debian Policy 5.6.1, 5.6.12).
var (
	packageName    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{0,127}$`) })
	packageArch    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`) })
	packageVersion = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]{0,127}$`) })
)

// maxWords bounds what is kept of a program's own words, in bytes.
const maxWords = 600

// aptArgument is how apt-get is told of a package: "name", "name:arch=version", with "-" at its end to remove it.
func aptArgument(p schema.PackageRef, remove bool) (string, error) {
	name := p.Name
	if n, arch, ok := strings.Cut(name, ":"); ok && p.Arch == "" {
		name, p.Arch = n, arch
	}
	switch {
	case !packageName().MatchString(name):
		return "", fmt.Errorf("%q is not a package's name", p.Name)
	case p.Arch != "" && !packageArch().MatchString(p.Arch):
		return "", fmt.Errorf("package %q: %q is not an architecture", p.Name, p.Arch)
	case p.Version != "" && !packageVersion().MatchString(p.Version):
		return "", fmt.Errorf("package %q: %q is not a version", p.Name, p.Version)
	}
	arg := name
	if p.Arch != "" && p.Arch != "all" {
		arg += ":" + p.Arch
	}
	switch {
	case remove:
		arg += "-"
	case p.Version != "":
		arg += "=" + p.Version
	}
	return arg, nil
}

// parseSimulation reads what `apt-get -s` prints:
//
//	Inst NAME [OLD] (NEW ORIGIN, ORIGIN [ARCH]) []
//	Remv NAME [OLD]
//
// NAME ends in ":ARCH" for a foreign architecture. Conf lines follow their Inst, or mend what is
// only unpacked; they carry nothing more.
func parseSimulation(out []byte) (schema.Simulation, error) {
	var sim schema.Simulation
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		verb, rest, _ := strings.Cut(sc.Text(), " ")
		if verb != "Inst" && verb != "Remv" && verb != "Purg" {
			continue
		}
		name, rest, _ := strings.Cut(rest, " ")
		st := schema.SimulatedStep{Action: schema.Install}
		st.Name, st.Arch, _ = strings.Cut(name, ":")
		if strings.HasPrefix(rest, "[") {
			old, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return sim, fmt.Errorf("read apt's simulation: %q is cut short", clean(sc.Text()))
			}
			st.Old, rest = old, strings.TrimSpace(after)
		}
		if verb == "Inst" {
			inner, _, ok := strings.Cut(strings.TrimPrefix(rest, "("), ")")
			if !ok || !strings.HasPrefix(rest, "(") {
				return sim, fmt.Errorf("read apt's simulation: %q names no version", clean(sc.Text()))
			}
			st.New, inner, _ = strings.Cut(inner, " ")
			if i := strings.LastIndexByte(inner, '['); i >= 0 && st.Arch == "" {
				st.Arch = strings.TrimSuffix(inner[i+1:], "]")
			}
			if st.Old != "" {
				st.Action = schema.Upgrade
			}
		} else {
			st.Action = schema.Remove
		}
		if !packageName().MatchString(st.Name) || st.Action != schema.Remove && st.New == "" {
			return sim, fmt.Errorf("read apt's simulation: %q is not understood", clean(sc.Text()))
		}
		sim.Steps = append(sim.Steps, st)
	}
	if err := sc.Err(); err != nil {
		return sim, fmt.Errorf("read apt's simulation: %w", err)
	}
	return sim, nil
}

var (
	notFound = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^E: (?:Unable to locate package ([a-z0-9][a-z0-9+.-]*)|Version '[^']*' for '([^':]+)(?::[^']*)?' was not found|Package '([^':]+)(?::[^']*)?' has no installation candidate)`)
	})
	unmet  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^ ([a-z0-9][a-z0-9+.-]*)(?::[a-z0-9-]+)? : (.*)$`) })
	broken = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^dpkg: error processing (?:package (\S+)|archive (\S+)) \(`)
	})
	unfetched = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^E: Failed to fetch (\S+)\s+(.*)$`) })
)

// parseRefusal reads why apt-get would not do what was asked, and which packages it blames.
func parseRefusal(out []byte) *schema.SimulationError {
	var words, names []string
	listed := false // inside a list of held or essential packages
	for line := range lines(out) {
		switch m := notFound().FindStringSubmatch(line); {
		case m != nil:
			names = append(names, m[1]+m[2]+m[3])
			words = append(words, strings.TrimPrefix(line, "E: "))
		case strings.HasPrefix(line, "E: "):
			words = append(words, strings.TrimPrefix(line, "E: "))
		case strings.HasPrefix(line, "The following held packages will be changed"),
			strings.HasPrefix(line, "The following packages will be DOWNGRADED"):
			words = append(words, strings.TrimSuffix(line, ":"))
			listed = true
			continue
		case listed && strings.HasPrefix(line, "  "):
			for _, n := range strings.Fields(line) {
				n, _, _ = strings.Cut(n, ":")
				names, words = append(names, n), append(words, n)
			}
			continue
		default:
			if m := unmet().FindStringSubmatch(line); m != nil {
				names = append(names, m[1])
				words = append(words, m[1]+": "+m[2])
			}
		}
		listed = false
	}
	slices.Sort(names)
	return &schema.SimulationError{Words: "apt-get: " + sentence(words), Packages: slices.Compact(names)}
}

// parseFailures reads apt-get's and dpkg's output of a transaction: words about single packages by
// name, and what it says about the whole.
func parseFailures(out []byte) (words map[string]string, whole string) {
	words = map[string]string{}
	var all []string
	name := ""
	for line := range lines(out) {
		if name != "" { // the line after dpkg's "error processing" has the reason
			if words[name] == "" {
				words[name] = sentence([]string{strings.TrimSpace(line)})
			}
			name = ""
			continue
		}
		if m := broken().FindStringSubmatch(line); m != nil {
			name = m[1]
			if m[2] != "" {
				name, _, _ = strings.Cut(path.Base(m[2]), "_")
				if strings.HasPrefix(path.Base(path.Dir(m[2])), "apt-dpkg-install-") { // apt numbers the links it makes there
					if n, rest, ok := strings.Cut(name, "-"); ok && strings.Trim(n, "0123456789") == "" {
						name = rest
					}
				}
			}
			name, _, _ = strings.Cut(name, ":")
			continue
		}
		if m := unfetched().FindStringSubmatch(line); m != nil {
			if n := packageOfURL(m[1]); n != "" {
				words[n] = sentence([]string{"could not be fetched: " + strings.TrimPrefix(line, "E: ")})
				continue
			}
		}
		if rest, ok := strings.CutPrefix(line, "E: "); ok {
			all = append(all, rest)
		}
		if rest, ok := strings.CutPrefix(line, "dpkg: error: "); ok {
			all = append(all, "dpkg: "+rest)
		}
	}
	if len(all) > 1 { // it says nothing beside a reason
		all = slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "Sub-process /usr/bin/dpkg") })
	}
	return words, sentence(all)
}

// parseWarnings reads what `apt-get update` could not do. apt ends well when it could use old lists.
func parseWarnings(out []byte) []string {
	var all []string
	for line := range lines(out) {
		for _, p := range []string{"W: ", "E: "} {
			if rest, ok := strings.CutPrefix(line, p); ok && !slices.Contains(all, rest) && len(all) < 20 {
				all = append(all, sentence([]string{rest}))
			}
		}
	}
	return all
}

// packageOfURL is the package's name of ".../tb-lib_1.0-1_all.deb".
func packageOfURL(s string) string {
	base := path.Base(s)
	if u, err := url.PathUnescape(base); err == nil {
		base = u
	}
	name, _, ok := strings.Cut(base, "_")
	if !ok || !strings.HasSuffix(base, ".deb") || !packageName().MatchString(name) {
		return ""
	}
	return name
}

// parseDownload sums the sizes in what `apt-get --print-uris` prints, in bytes: 'URI' FILE SIZE HASH.
// fetched is what would be stored in apt's archive folder; all counts local archives too.
func parseDownload(out []byte) (fetched, all uint64) {
	for line := range lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 48)
		if err != nil {
			continue
		}
		all += n
		if !strings.HasPrefix(f[0], "'file:") {
			fetched += n
		}
	}
	return fetched, all
}

// parseReplaces reads `apt-cache show` of new packages and gives, for each package that one of them
// both replaces and excludes (Debian Policy 7.6.2), the name of the new one.
func parseReplaces(out []byte) map[string]string {
	by := map[string]string{}
	var name, replaces, excludes string
	flush := func() {
		for _, r := range relationNames(replaces) {
			if name != "" && slices.Contains(relationNames(excludes), r) {
				by[r] = name
			}
		}
		name, replaces, excludes = "", "", ""
	}
	for line := range lines(out) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "":
			flush()
		case "Package":
			name = strings.TrimSpace(value)
		case "Replaces":
			replaces = value
		case "Conflicts", "Breaks":
			excludes += "," + value
		}
	}
	flush()
	return by
}

// relationNames are the names in "a (<< 1.0), b:any, c".
func relationNames(s string) []string {
	var names []string
	for part := range strings.SplitSeq(s, ",") {
		f := strings.FieldsFunc(part, func(r rune) bool { return r == ' ' || r == '(' || r == ':' || r == '[' })
		if len(f) > 0 {
			names = append(names, f[0])
		}
	}
	return names
}

// parseStatus reads dpkg's database. native is the host's own architecture; its packages come
// first. States are dpkg's words.
func parseStatus(r io.Reader, native string) ([]schema.PackageStatus, error) {
	own := make([]schema.PackageStatus, 0, 1024)
	var foreign []schema.PackageStatus
	var p schema.PackageStatus
	add := func() {
		if p.Name == "" {
			return
		}
		if p.Arch == native || p.Arch == "all" || native == "" {
			own = append(own, p)
		} else {
			foreign = append(foreign, p)
		}
		p = schema.PackageStatus{}
	}
	words := map[string]string{} // architectures and states: few, and many times each
	word := func(b []byte) string {
		w, known := words[string(b)]
		if !known {
			w = string(b)
			words[w] = w
		}
		return w
	}
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadSlice('\n')
		if end := bytes.TrimRight(line, "\r\n"); len(end) == 0 {
			add()
		} else if strings.IndexByte("PASVE", end[0]) >= 0 { // of some thirty fields a package
			key, value, _ := bytes.Cut(end, []byte(":"))
			switch value = bytes.TrimSpace(value); string(key) {
			case "Package":
				p.Name = string(value)
			case "Architecture":
				p.Arch = word(value)
			case "Version":
				p.Version = string(value)
			case "Essential", "Protected":
				p.Essential = p.Essential || string(value) == "yes"
			case "Status": // "hold ok installed"
				if f := bytes.Fields(value); len(f) == 3 {
					p.Held, p.State, p.Reinstall = string(f[0]) == "hold", word(f[2]), string(f[1]) == "reinstreq"
					if p.Reinstall && p.State == "installed" {
						p.State = "half-installed"
					}
				}
			}
		}
		for err == bufio.ErrBufferFull { // the rest of a line; none of the fields above is that long
			_, err = br.ReadSlice('\n')
		}
		switch {
		case err == io.EOF:
			add()
			return append(own, foreign...), nil
		case err != nil:
			return nil, fmt.Errorf("read dpkg's database: %w", err)
		}
	}
}

// parseAuto reads apt's extended_states: "name:arch" of the packages that came only as dependencies.
func parseAuto(r io.Reader) (map[string]bool, error) {
	auto := map[string]bool{}
	var name, arch string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		key, value, _ := strings.Cut(sc.Text(), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "":
			name, arch = "", ""
		case "Package":
			name = value
		case "Architecture":
			arch = value
		case "Auto-Installed":
			if value == "1" && packageName().MatchString(name) && packageArch().MatchString(arch) {
				auto[name+":"+arch] = true
			}
		}
	}
	return auto, sc.Err()
}

// lines walks over the lines of a program's output, made printable.
func lines(out []byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for line := range bytes.SplitSeq(out, []byte("\n")) {
			if len(line) > 4096 {
				line = line[:4096]
			}
			if !yield(clean(strings.TrimRight(string(line), "\r"))) {
				return
			}
		}
	}
}

// clean makes what another program says fit for a sentence.
func clean(s string) string { return safe.Words(s, 64<<10) }

// sentence joins words of a program, without repeats, up to maxWords bytes.
func sentence(words []string) string {
	var kept []string
	for _, w := range words {
		if w = strings.TrimSpace(w); w != "" && !slices.Contains(kept, w) {
			kept = append(kept, w)
		}
	}
	s := strings.Join(kept, "; ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "..."
	}
	return s
}

// progressLine turns a line of APT::Status-Fd, "pmstatus:PACKAGE:PERCENT:TEXT", into words; empty
// for lines that people need not see.
func progressLine(line string) string {
	f := strings.SplitN(line, ":", 4)
	if len(f) != 4 {
		return ""
	}
	switch what := clean(f[3]); f[0] {
	case "dunlin", "pmstatus", "pmerror":
		return sentence([]string{what})
	}
	return ""
}
