package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/load/shipped"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// objectFiles has a commented object of each kind, with words in double braces to be filled in.
//
//go:embed objects
var objectFiles embed.FS

type newFlags struct {
	repo, system, publicKey, who string
	stdout                       bool
}

func (a *app) newCommand() *cobra.Command {
	var f newFlags
	cmd := &cobra.Command{
		Use:   "new KIND NAME",
		Short: "Add a commented object to a policy repository",
		Long: `Write an object of a kind with its common fields and what they mean, as a valid file in the
folder of its kind: policies/NAME.cue for a policy. The repository is the one around the
current folder, or --repo. A name that is taken, or that belongs to the shipped library, is
refused; a file that is there is never replaced. What this version refuses to carry out is
said. dunlin schema lists the kinds.`,
		Example: `  dunlin new policy no-ftp
  dunlin new baseline web-prod --os ubuntu
  dunlin new window night --os debian --stdout
  dunlin new parameter /prod/web/port
  dunlin new grant operators --who alice`,
		Args:              exactArgs(2),
		ValidArgsFunction: completeKinds,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.newObject(cmd.Context(), args[0], args[1], f) },
	}
	cmd.Flags().StringVar(&f.repo, "repo", "", repoAround)
	cmd.Flags().StringVar(&f.system, "os", "", "operating system: of a baseline (default debian), or of the targets (default all nodes)")
	cmd.Flags().StringVar(&f.publicKey, "public-key", "", "of an activation: file with an ssh-ed25519 public key, or the key")
	cmd.Flags().StringVar(&f.who, "who", "", "of a grant, exception or activation: the person (default: the first of fleet.signers)")
	cmd.Flags().BoolVar(&f.stdout, "stdout", false, "print the object and write nothing")
	return cmd
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kinds, _ := load.Kinds()
	return kinds, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) newObject(ctx context.Context, kind, name string, f newFlags) error {
	if err := load.CheckName(kind, name); err != nil {
		hint := ""
		if kinds, _ := load.Kinds(); !slices.Contains(kinds, kind) {
			hint = "dunlin schema says what each kind is"
			if kind == "roster" || kind == "node" {
				hint = "dunlin node line prints a host's line of the roster"
			}
		}
		return exitWith{code: exitUsage, err: fmt.Errorf("new %s: %w", kind, err), hint: hint}
	}
	file := objectFile(kind, name)
	p, err := findPolicy(f.repo)
	switch {
	case err == nil:
		defer p.root.Close()
	case f.stdout && f.repo == "":
		p = nil // an object for nowhere in particular
	case kind == "fleet":
		return exitWith{code: exitError, err: fmt.Errorf("new fleet: %w", err), hint: "dunlin init DIR --name " + name + " begins a repository with this fleet"}
	default:
		return err
	}
	var repo schema.Repo
	if p != nil {
		if repo, err = p.untaken(ctx, kind, name, file, f.stdout); err != nil {
			return err
		}
	}
	text, err := a.objectText(kind, name, repo, p != nil, f)
	if err != nil {
		return err
	}
	d, err := load.Describe(kind, 0)
	if err != nil {
		return err
	}
	status := inThisVersion(d).Status
	if f.stdout {
		if a.json() {
			return a.printJSON(map[string]string{"kind": kind, "name": name, "file": file, "text": string(text)})
		}
		if _, err := a.out.Write(text); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	} else {
		if err := p.write(file, text, 0o666); err != nil {
			return err
		}
		if a.json() {
			if err := a.printJSON(map[string]string{"kind": kind, "name": name, "file": file}); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(a.out, "%s %s\n\nnext: change it, then dunlin validate; all fields: dunlin schema %s\n", lookOf(a.out).symbol(good), printable(p.show(file)), kind)
		}
	}
	if status != "" {
		a.note(kind+": "+status, "")
	}
	return nil
}

// objectFile is where a new object goes.
func objectFile(kind, name string) string {
	folder := kind + "s"
	switch kind {
	case "fleet":
		return "fleet.cue"
	case "policy":
		folder = "policies"
	}
	file := strings.TrimPrefix(name, "/") // a parameter
	if strings.HasSuffix(file, "_test") || strings.HasSuffix(file, "_tool") {
		file += "_" // CUE does not read these
	}
	return slash.Join(folder, file+".cue")
}

// untaken reads the repository, and refuses a name that is there or, where the object is not only shown, a file.
func (p *policyFolder) untaken(ctx context.Context, kind, name, file string, shown bool) (schema.Repo, error) {
	if err := p.plain(file); err != nil {
		return schema.Repo{}, fmt.Errorf("new %s: %w", kind, err)
	}
	if _, err := p.root.Lstat(filepath.FromSlash(file)); err == nil && !shown {
		hint := "choose another name; dunlin new " + kind + " NAME --stdout prints one to put into that file"
		if kind == "fleet" {
			hint = "a repository is one fleet"
		}
		return schema.Repo{}, exitWith{code: exitError, err: fmt.Errorf("new %s: %q is there already", kind, p.show(file)), hint: hint}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return schema.Repo{}, fmt.Errorf("new %s: %q: %w", kind, p.show(file), cause(err))
	}
	repo, _, err := load.Child(loadOptions())(ctx, p.root.FS())
	if err != nil {
		return repo, fmt.Errorf("new %s: read the repository: %w", kind, err)
	}
	if at, ok := repo.Positions[load.ObjectPath(kind, name)]; ok {
		return repo, exitWith{code: exitError, err: fmt.Errorf("new %s: %q is taken: %s:%d", kind, name, p.show(at.File), at.Line), hint: "choose another name"}
	}
	for _, ext := range []string{".json", ".yaml", ".yml"} {
		other := "documents/" + name + ext
		if _, err := p.root.Lstat(other); kind == "document" && err == nil {
			return repo, exitWith{code: exitError, err: fmt.Errorf("new document: %q is taken: %s", name, p.show(other)), hint: "choose another name"}
		}
	}
	return repo, nil
}

// objectText fills in the object of a kind.
func (a *app) objectText(kind, name string, repo schema.Repo, inRepo bool, f newFlags) ([]byte, error) {
	text, err := objectFiles.ReadFile("objects/" + kind + ".cue")
	if err != nil {
		return nil, fmt.Errorf("new %s: this version has no such object", kind)
	}
	system, id, err := operatingSystem(f.system)
	if err != nil {
		return nil, err
	}
	takesSystem := strings.Contains(string(text), "{{targets}}") || strings.Contains(string(text), "{{OS}}") || strings.Contains(string(text), "{{baseline}}")
	switch {
	case f.system != "" && !takesSystem:
		return nil, usageError{fmt.Errorf("--os is nothing that a new %s says", kind)}
	case f.publicKey != "" && kind != "activation":
		return nil, usageError{fmt.Errorf("--public-key belongs to an activation, and not to a %s", kind)}
	}
	who, signers := f.who, slices.Sorted(maps.Keys(repo.Fleet.Signers))
	switch {
	case who != "" && load.CheckName("fleet", who) != nil:
		return nil, usageError{fmt.Errorf("--who %w", load.CheckName("fleet", who))}
	case who != "" && !strings.Contains(string(text), "{{who}}"):
		return nil, usageError{fmt.Errorf("--who is nothing that a new %s says", kind)}
	case inRepo && kind == "grant" && who != "" && !slices.Contains(signers, who):
		return nil, exitWith{code: exitNoMatch, err: fmt.Errorf("new grant: no signer %q%s", who, didYouMean(who, signers)), hint: signersHint(signers)}
	case who != "":
	case len(signers) > 0:
		who = signers[0]
	case inRepo && kind == "grant":
		return nil, exitWith{code: exitError, err: errors.New("new grant: it names people, and fleet.signers has none"), hint: signersHint(nil)}
	default:
		who = "alice"
	}
	key := ""
	if kind == "activation" {
		if key, err = activationKey(name, f.publicKey); err != nil {
			return nil, err
		}
	}
	baseline := ""
	if kind == "group" {
		if baseline = shippedBaseline(system); baseline == "" {
			return nil, usageError{fmt.Errorf("--os %s has no predefined baseline to begin with; add one of your own first: dunlin new baseline NAME --os %s", id, id)}
		}
	}
	targets := "all: true"
	if f.system != "" {
		targets = `os: [` + strconv.Quote(id) + `]`
	}
	now := a.now().UTC().Truncate(time.Hour)
	filled := strings.NewReplacer(
		"{{name}}", name, "{{OS}}", string(system), "{{filters}}", filtersOf(system), "{{days}}", map[bool]string{true: "0", false: "7"}[apt(system)],
		"{{nonSecurity}}", map[bool]string{true: "", false: "// Updates that are not about security as well.\n\t\t// enableNonSecurity: true\n\t\t"}[system == "WINDOWS" || system == "MACOS"],
		"targets: {{targets}}", "targets: "+targets, "{{baseline}}", baseline, "{{who}}", who, "{{publicKey}}", key,
		"{{tomorrow}}", now.AddDate(0, 0, 1).Format(time.RFC3339), "{{nextMonth}}", now.AddDate(0, 1, 0).Format(time.RFC3339),
		"{{start}}", now.AddDate(0, 1, 0).Format(time.RFC3339), "{{end}}", now.AddDate(0, 1, 14).Format(time.RFC3339),
	).Replace(string(text))
	laid, faults := load.Format("new.cue", []byte(filled))
	if len(faults) > 0 {
		return nil, fmt.Errorf("new %s: %s", kind, faults[0])
	}
	return laid, nil
}

// operatingSystem is what people call one: an ID of os-release, or SSM's word. id is the former.
func operatingSystem(word string) (schema.OperatingSystem, string, error) {
	names := [][2]string{
		{"debian", "DEBIAN"}, {"ubuntu", "UBUNTU"}, {"raspbian", "RASPBIAN"}, {"rhel", "REDHAT_ENTERPRISE_LINUX"}, {"rocky", "ROCKY_LINUX"},
		{"almalinux", "ALMA_LINUX"}, {"centos", "CENTOS"}, {"ol", "ORACLE_LINUX"}, {"fedora", "FEDORA"}, {"sles", "SUSE"}, {"amzn", "AMAZON_LINUX_2023"},
		{"windows", "WINDOWS"}, {"macos", "MACOS"}, {"amzn", "AMAZON_LINUX_2022"}, {"amzn", "AMAZON_LINUX_2"}, {"amzn", "AMAZON_LINUX"},
	}
	if word == "" {
		return "DEBIAN", "debian", nil
	}
	var words []string
	for _, n := range names {
		if word == n[0] || strings.EqualFold(word, n[1]) {
			return schema.OperatingSystem(n[1]), n[0], nil
		}
		if !slices.Contains(words, n[0]) {
			words = append(words, n[0])
		}
	}
	near := ""
	if n := schema.Nearest(word, words); n != "" {
		near = fmt.Sprintf(" (did you mean %q?)", n)
	}
	return "", "", usageError{fmt.Errorf("--os %q is not %s%s", word, strings.Join(words, ", "), near)}
}

func apt(s schema.OperatingSystem) bool { return s == "DEBIAN" || s == "UBUNTU" || s == "RASPBIAN" }

// filtersOf are the filters that let security updates of an operating system through.
func filtersOf(s schema.OperatingSystem) string {
	switch {
	case apt(s):
		return `PRIORITY: ["*"]`
	case s == "WINDOWS":
		return `{CLASSIFICATION: ["CriticalUpdates", "SecurityUpdates"], MSRC_SEVERITY: ["Critical", "Important"]}`
	case s == "MACOS":
		return `PRODUCT: ["*"]`
	}
	return `{CLASSIFICATION: ["Security"], SEVERITY: ["Critical", "Important"]}`
}

// shippedBaseline is the predefined baseline of an operating system, empty where there is none.
func shippedBaseline(s schema.OperatingSystem) string {
	all, found := shipped.Baselines(), ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if b := all[name]; b.OperatingSystem == s && (found == "" || b.Default) {
			found = name
		}
	}
	return found
}

// activationKey is an ssh-ed25519 public key without its comment, given as such or as a file.
func activationKey(name, given string) (string, error) {
	how := "dunlin activation create " + safe.Shell(name) + " makes the code with which hosts ask, and writes the file with its public half"
	if given == "" {
		return "", exitWith{code: exitUsage, err: errors.New("new activation: --public-key is missing, the public half of the code with which hosts ask to be let in"), hint: how}
	}
	text := given
	if !strings.HasPrefix(given, "ssh-") {
		info, err := os.Stat(given)
		if err != nil || !info.Mode().IsRegular() || info.Size() > 16<<10 {
			return "", exitWith{code: exitUsage, err: fmt.Errorf("new activation: --public-key %q is neither a key nor a file with one", given), hint: how}
		}
		b, err := os.ReadFile(given)
		if err != nil {
			return "", fmt.Errorf("new activation: %w", err)
		}
		text = string(b)
	}
	parts := strings.Fields(text)
	if len(parts) < 2 || parts[0] != "ssh-ed25519" || len(parts[1]) != 68 {
		return "", exitWith{code: exitUsage, err: fmt.Errorf("new activation: --public-key %q is no ssh-ed25519 public key", given), hint: how}
	}
	return parts[0] + " " + parts[1], nil
}
