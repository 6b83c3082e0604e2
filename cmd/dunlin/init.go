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
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// scaffoldFiles has a folder for what every policy repository begins with, and one a forge. A name that begins with dot-
// begins with a dot where it is written: here it would mean something to Git.
//
//go:embed scaffold
var scaffoldFiles embed.FS

// Forges are what init writes CI files for.
func forges() []string { return []string{"github", "gitlab", "forgejo", "none"} }

type initFlags struct {
	forge, name, version string
	signer, key          string
	force, noCommit      bool
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Begin a policy repository",
		Long: `Write a policy repository to begin with into DIR: a fleet, baselines, a group, a window and a
policy that make sense, the definitions for plain cue and editors, a hook that checks each
commit, and with --forge what a forge needs to check pull requests. The policy only reports:
its mode is audit. DIR is new or empty, or a Git repository without a policy; what is there
stays, unless --force says that files of the scaffold replace those of the same name.

--signer names the first person who may sign, with a public key that exists already. The files are
then committed, and nothing else is, signed with that key (its private half lies beside it or is
in ssh-agent), in a Git repository that is made where there is none; and the fleet's anchor is
printed, the id of that commit: hosts that have it in their own file believe what people have signed
since. Where that cannot be done, it is said why, and how to do it: see docs/trust.md.

CI installs the version of dunlin that .dunlin-version names, a tag or a commit: that of
this program, or what --dunlin-version says. Nothing is fetched or pushed, and without --signer
Git is not called.`,
		Example: `  dunlin init infra-policy
  dunlin init infra-policy --forge github --name acme
  dunlin init . --forge gitlab
  dunlin init infra-policy --signer alice --key ~/.ssh/id_ed25519.pub
  dunlin init infra-policy --signer alice --key alice.pub --no-commit`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.initPolicy(cmd.Context(), args[0], f) },
	}
	cmd.Flags().StringVar(&f.forge, "forge", "none", "write CI files for github, gitlab or forgejo, or none")
	cmd.Flags().StringVar(&f.name, "name", "", "the fleet's name (default: that of the folder)")
	cmd.Flags().StringVar(&f.version, "dunlin-version", "", "what CI installs: a tag or a commit (default: this program's version)")
	cmd.Flags().StringVar(&f.signer, "signer", "", "the first person who may sign, with the roles root and policy")
	cmd.Flags().StringVar(&f.key, "key", "", "the file with that person's public key (.pub)")
	cmd.Flags().BoolVar(&f.noCommit, "no-commit", false, "with --signer: write the files and commit nothing")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace files of the same names")
	return cmd
}

func (a *app) initPolicy(ctx context.Context, dir string, f initFlags) error {
	if !slices.Contains(forges(), f.forge) {
		return usageError{fmt.Errorf("--forge %q is not %s", f.forge, strings.Join(forges(), ", "))}
	}
	name, err := fleetName(dir, f.name)
	if err != nil {
		return err
	}
	version, err := ciVersion(f.version)
	if err != nil {
		return err
	}
	if (f.signer == "") != (f.key == "") {
		return usageError{errors.New("--signer and --key go together: a person, and the file with their public key")}
	}
	people := ""
	if f.noCommit && f.signer == "" {
		return usageError{errors.New("--no-commit goes with --signer: nothing is committed without one")}
	}
	if f.signer != "" {
		if err := load.CheckName("fleet", f.signer); err != nil {
			return usageError{fmt.Errorf("--signer %w", err)}
		}
		line, err := publicKey(f.key)
		if err != nil {
			return err
		}
		people = "\n" + signerText(f.signer, []string{line}, []string{"root", "policy"})
	}
	existed, err := startFolder(dir, f.force)
	if err != nil {
		return err
	}
	p, err := openPolicy(dir)
	if err != nil {
		return err
	}
	defer p.root.Close()
	files, err := scaffold(name, f.forge, version)
	if err != nil {
		return err
	}
	files["fleet.cue"] = append(files["fleet.cue"], people...)
	names := slices.Sorted(maps.Keys(files))
	if !f.force {
		var taken []string
		for _, name := range names {
			if _, err := p.root.Lstat(filepath.FromSlash(name)); err == nil {
				taken = append(taken, name)
			}
		}
		if len(taken) > 0 {
			return exitWith{code: exitError, err: fmt.Errorf("init %q: %s already there; nothing was written", dir, listed(taken, 5)+map[bool]string{true: " is", false: " are"}[len(taken) == 1]),
				hint: "move them away, or replace them with --force"}
		}
	}
	for _, name := range names { // all of them, before one is written
		if err := p.plain(name); err != nil {
			return fmt.Errorf("init %q: %w; nothing was written", dir, err)
		}
	}
	first := &firstCommit{branch: "main", make: !existed}
	if f.signer != "" && !f.noCommit {
		first = placeFirst(ctx, dir)
	}
	for _, name := range names {
		mode := fs.FileMode(0o666)
		if strings.HasPrefix(name, ".githooks/") {
			mode = 0o777
		}
		if err := p.write(name, files[name], mode); err != nil {
			return err
		}
	}
	if f.signer != "" && !f.noCommit && first.why == "" {
		first.commit(ctx, name, f.signer, f.key, names)
	}
	return a.printInit(dir, name, version, f, first, names)
}

// startFolder makes the folder, or says why a policy repository cannot begin in it. existed: it was there.
func startFolder(dir string, force bool) (existed bool, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	home, _ := os.UserHomeDir()
	refuse := func(why, hint string) error {
		return exitWith{code: exitError, err: fmt.Errorf("init %q: %s", dir, why), hint: hint}
	}
	switch {
	case filepath.Dir(abs) == abs:
		return false, refuse("the root of the file system is no place for a policy repository", "name a new folder")
	case home != "" && abs == filepath.Clean(home):
		return false, refuse("your home folder is no place for a policy repository", "name a new folder in it")
	}
	for up := filepath.Dir(abs); up != filepath.Dir(up); up = filepath.Dir(up) {
		if info, err := os.Lstat(filepath.Join(up, "fleet.cue")); err == nil && info.Mode().IsRegular() {
			return false, refuse(fmt.Sprintf("%q above it is a policy repository already", up), "dunlin new KIND NAME adds an object to it")
		}
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return false, fmt.Errorf("init: %w", err)
		}
		return false, nil
	case err != nil:
		return true, refuse(cause(err).Error(), "name a new folder")
	case force:
		return true, nil
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name })
	}
	switch {
	case has("fleet.cue"):
		return true, refuse("it is a policy repository already", "dunlin new KIND NAME adds an object to it, dunlin schema vendor renews its definitions")
	case has("HEAD") && has("objects"):
		return true, refuse("it is a bare Git repository", "clone it, and name the clone")
	case has(".git"):
		return true, nil
	}
	for _, e := range entries {
		if name := e.Name(); name != "README.md" && name != "LICENSE" {
			return true, refuse(fmt.Sprintf("it is neither empty nor a Git repository: it has %q", name), "name a new folder, or run git init there first")
		}
	}
	return true, nil
}

// fleetName is the name that was given, or one made of the folder's.
func fleetName(dir, given string) (string, error) {
	if given != "" {
		if err := load.CheckName("fleet", given); err != nil {
			return "", usageError{fmt.Errorf("--name %w", err)}
		}
		return given, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	name := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(filepath.Base(abs), "-"), "-._")
	if name = name[:min(len(name), 63)]; load.CheckName("fleet", name) != nil {
		return "", usageError{fmt.Errorf("the name of the folder %q makes no name of a fleet; give one with --name", filepath.Base(abs))}
	}
	return name, nil
}

// ciVersion is what `go install` takes after the @: a tag or a commit. A build of no known commit gives latest.
func ciVersion(given string) (string, error) {
	if given != "" {
		if !regexp.MustCompile(`^(v[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*|[0-9a-f]{7,40}|latest)$`).MatchString(given) {
			return "", usageError{fmt.Errorf("--dunlin-version %q is not a tag such as v1.2.3, a commit, or latest", given)}
		}
		return given, nil
	}
	v := strings.TrimSuffix(version, "-dirty") // as git describe has it
	if m := regexp.MustCompile(`-g([0-9a-f]{7,40})$`).FindStringSubmatch(v); m != nil {
		return m[1], nil
	}
	if v == "0.0.0-dev" { // not built by make: by go install, perhaps
		v = ""
		if info, ok := debug.ReadBuildInfo(); ok && !strings.Contains(info.Main.Version, "+dirty") {
			v = info.Main.Version
		}
	}
	if ok, err := ciVersion(v); err == nil && v != "" {
		return ok, nil
	}
	return "latest", nil
}

// scaffold gives the files of a new policy repository by name.
func scaffold(fleet, forge, version string) (map[string][]byte, error) {
	files, err := load.Vendored([]string{"hardening"}) // which policies/hardening.cue imports
	if err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("{{fleet}}", fleet, "{{ci}}", ciText(forge), "{{cue}}", "v0.17")
	for _, part := range []string{"common", forge} {
		if part == "none" {
			continue
		}
		err := walkFiles(scaffoldFiles, "scaffold/"+part, func(name string) error {
			text, err := scaffoldFiles.ReadFile(name)
			if err != nil {
				return err
			}
			to := strings.ReplaceAll("/"+strings.TrimPrefix(name, "scaffold/"+part+"/"), "/dot-", "/.")
			files[strings.TrimPrefix(to, "/")] = []byte(fill.Replace(string(text)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	files["schema.cue"] = []byte(load.Binding)
	files["cue.mod/module.cue"] = []byte(moduleFile(strings.ToLower(fleet)))
	if forge != "none" {
		files[".dunlin-version"] = []byte(version + "\n")
	}
	return files, nil
}

// ciText is what the README says about CI.
func ciText(forge string) string {
	file := map[string]string{"github": ".github/workflows/dunlin.yml", "gitlab": ".gitlab-ci.yml", "forgejo": ".forgejo/workflows/dunlin.yml"}[forge]
	if file == "" {
		return ""
	}
	return "CI: `" + file + "`, with the dunlin that `.dunlin-version` names.\n"
}

func (a *app) printInit(dir, fleet, version string, f initFlags, first *firstCommit, names []string) error {
	forge, signer := f.forge, f.signer
	if first.why != "" {
		a.note("the files are written, and nothing is committed: "+first.why, first.hint)
	}
	if a.json() {
		return a.printJSON(struct {
			Dir    string   `json:"dir"`
			Fleet  string   `json:"fleet"`
			Forge  string   `json:"forge"`
			CI     string   `json:"dunlinVersion,omitempty"`
			Files  []string `json:"files"`
			Anchor string   `json:"anchor,omitempty"`       // the first commit, which trust starts from
			Branch string   `json:"branch,omitempty"`       // that it is on
			Why    string   `json:"notCommitted,omitempty"` // why there is none
		}{dir, fleet, forge, map[bool]string{true: version}[forge != "none"], names, first.anchor, map[bool]string{true: first.branch}[first.anchor != ""], first.why})
	}
	l := lookOf(a.out)
	vendored := 0
	for _, name := range names {
		if strings.HasPrefix(name, load.VendorRoot+"/") {
			vendored++
			continue
		}
		fmt.Fprintf(a.out, "%s %s\n", l.symbol(good), printable(slash.Join(filepath.ToSlash(dir), name)))
	}
	fmt.Fprintf(a.out, "%s %s  %s\n", l.symbol(good), printable(slash.Join(filepath.ToSlash(dir), load.VendorRoot)), l.dim(counted(vendored, "definition file")))
	if forge != "none" && version == "latest" {
		fmt.Fprintf(a.out, "%s .dunlin-version says latest: this program knows no commit of its own; put a tag or a commit there\n", l.symbol(attention))
	}
	if first.anchor != "" {
		fmt.Fprintf(a.out, "%s committed on %s, signed with the key of %s; trust starts from it:\n\n  anchor  %s\n", l.symbol(good), printable(first.branch), printable(signer), first.anchor)
	}
	lead := "next: "
	if filepath.Clean(dir) != "." {
		fmt.Fprintf(a.out, "\nnext: cd %s", safe.Shell(dir))
		lead = "      "
	}
	fmt.Fprintln(a.out)
	if first.anchor == "" && (first.make || signer == "" && !inGit(dir)) {
		fmt.Fprintln(a.out, lead+"git init -b main")
		lead = "      "
	}
	fmt.Fprint(a.out, lead+"cp .githooks/pre-commit .git/hooks/     # check each commit\n"+
		"      dunlin validate\n"+
		"      dunlin new policy NAME                  # more objects: dunlin schema says what there is\n")
	switch {
	case first.anchor != "":
		push := "git remote add origin URL && git push -u origin " + safe.Shell(first.branch)
		if first.remote {
			push = "git push -u origin " + safe.Shell(first.branch)
		}
		key := f.key
		if abs, err := filepath.Abs(key); err == nil {
			key = abs
		}
		fmt.Fprintf(a.out, "      git config gpg.format ssh && git config user.signingkey %s && git config commit.gpgsign true    # sign each commit\n      %s\n\nthen, in %s of each host:\n\n",
			printable(safe.Shell(key)), push, defaultConfig)
		branch := ""
		if first.branch != "main" {
			branch = "repo: branch: " + cueText(first.branch) + "\n      "
		}
		fmt.Fprintf(a.out, "      repo: url: \"URL\"\n      %strust: anchor: \"%s\"\n\n", printable(branch), first.anchor)
	case signer != "":
		fmt.Fprint(a.out, "      git add -A && git commit -S             # signed: git config gpg.format ssh, user.signingkey FILE.pub\n"+
			"      dunlin trust anchor                     # the commit for each host's own file, trust: {anchor: \"...\"}\n")
	}
	if forge != "none" {
		fmt.Fprintln(a.out, "      put your teams into CODEOWNERS, and protect main: what is on it is carried out as root")
	}
	return nil
}

// inGit reports whether a folder or one above it is the work tree of a Git repository, as far as its name tells.
func inGit(dir string) bool {
	at, err := filepath.Abs(dir)
	for err == nil {
		if _, gone := os.Lstat(filepath.Join(at, ".git")); gone == nil {
			return true
		}
		if filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	return false
}
