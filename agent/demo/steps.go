package demo

import (
	"context"

	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// hosts makes the fleet and lets its agents find each other.
func (s *story) hosts(ctx context.Context) error {
	s.begin(0, "hosts", "Hosts", fmt.Sprintf("%d simulated Debian hosts, each with an agent and keys of its own", s.o.Nodes))
	if err := s.makeKey(); err != nil {
		return err
	}
	if err := s.network.Check(ctx); err != nil {
		return err
	}
	specs := names(s.o.Nodes)
	for i := range specs {
		var err error
		if specs[i].Gossip, specs[i].Peer, err = s.network.Reserve(); err != nil {
			return err
		}
	}
	var err error
	if s.fleet, err = simulated.New(s.o.Dir, specs); err != nil {
		return err
	}
	for i, n := range s.fleet.Nodes {
		if err := furnish(n, i); err != nil {
			return fmt.Errorf("furnish %s: %w", n.Name, err)
		}
	}
	if err := s.makePeople(); err != nil {
		return err
	}
	files := firstFiles(s.ann.Public(), s.ben.Public())
	roster, err := s.fleet.Roster(time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return err
	}
	maps.Copy(files, roster)
	if s.head, err = s.commit(s.ann, "main", "", "The fleet, its people and its nodes", files); err != nil {
		return err
	}
	s.anchor = s.head
	for _, n := range s.fleet.Nodes {
		if err := s.start(n); err != nil {
			return err
		}
	}
	if _, _, err := s.all(ctx, "agents find each other", func(n *simulated.Node) bool {
		return holds(n, s.head) && online(n) == len(s.fleet.Nodes)
	}); err != nil {
		return err
	}
	s.good = s.head
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		role := "a web server"
		if n.Tags["role"] == "db" {
			role = "a database"
		}
		return Good, "online: " + role
	}) {
		s.row(r)
	}
	s.end(ctx, fmt.Sprintf("%d of %d online; commit %s is their anchor: from there on they take what ann or ben sign", len(s.fleet.Nodes), len(s.fleet.Nodes), short(s.anchor)), 0)
	return nil
}

const branch = "close-telnet"

// push puts the first policy on a branch, as for a pull request.
func (s *story) push(ctx context.Context) error {
	s.begin(1, "push", "Push", "a branch says what every host should be")
	files := branchFiles()
	commit, err := s.commit(s.ben, branch, s.head, "Close Telnet's port, and patch Debian", files)
	if err != nil {
		return err
	}
	s.step.Commit = commit
	s.row(Row{Name: hardeningFile, Text: "port 23 closed, Telnet gone, redirects off, a banner"})
	s.row(Row{Name: baselineFile, Text: "security updates are approved at once"})
	s.end(ctx, fmt.Sprintf("branch %s is at %s, signed by ben", branch, short(commit)), 0)
	return nil
}

// plan asks each host what the branch would do to it. It is what dunlin reconcile --dry-run does.
func (s *story) plan(ctx context.Context) error {
	s.begin(2, "plan", "Plan", "what would it do? Each host is asked, and nothing is changed")
	accounts := make([]schema.Account, len(s.fleet.Nodes))
	errs := make([]error, len(s.fleet.Nodes))
	s.o.Teller.Doing("looking at each host")
	var wg sync.WaitGroup
	two := make(chan struct{}, 2)
	for i, n := range s.fleet.Nodes {
		wg.Go(func() {
			two <- struct{}{}
			defer func() { <-two }()
			accounts[i], errs[i] = n.Local(s.shared, time.Now).Reconcile(ctx, s.work(), n.Name, true)
		})
	}
	wg.Wait()
	byName := map[string]schema.Account{}
	changes, updates := 0, 0
	for i, n := range s.fleet.Nodes {
		if errs[i] != nil {
			return fmt.Errorf("%s: %w", n.Name, errs[i])
		}
		byName[n.Name] = accounts[i]
	}
	patches := map[string]int{}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		would, waiting := phrases(byName[n.Name].Changes, false)
		patches[n.Name] = waiting
		changes, updates = changes+len(would), updates+waiting
		return Attention, strings.Join(would, ", ")
	}) {
		s.row(r)
	}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		return Waits, plural(patches[n.Name], "security update waits", "security updates wait") + " for a maintenance window"
	}) {
		s.row(r)
	}
	s.end(ctx, fmt.Sprintf("%s to %d hosts, and %s for later", plural(changes, "change", "changes"), len(s.fleet.Nodes), plural(updates, "update", "updates")), 0)
	return nil
}

// converge merges the branch, and every host takes itself there.
func (s *story) converge(ctx context.Context) error {
	s.begin(3, "converge", "Converge", "merged: every host takes itself there")
	head, err := s.fleet.Remote.Ref("refs/heads/" + branch)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.fleet.Remote.SetRef("refs/heads/main", head); err != nil {
		return err
	}
	s.head, s.step.Commit = head, head
	first, last, err := s.all(ctx, "commit "+short(head)+" in force", func(n *simulated.Node) bool { return holds(n, head) })
	if err != nil {
		return err
	}
	s.good = head
	for _, n := range s.fleet.Nodes {
		if !closed(ctx, n) {
			return fmt.Errorf("%s holds commit %s, and port 23 is open", n.Name, short(head))
		}
	}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		did, _ := phrases(s.feed.since(begun, n.Name), true)
		return Good, strings.Join(did, ", ")
	}) {
		s.row(r)
	}
	s.end(ctx, fmt.Sprintf("commit %s in force on %d of %d, the first after %s", short(head), len(s.fleet.Nodes), len(s.fleet.Nodes), seconds(first)), last)
	return nil
}

// telnet is the port that nobody may open.
func telnet() schema.BlockedPort {
	return schema.BlockedPort{Direction: "in", Protocol: "tcp", Port: schema.PortRange{First: 23, Last: 23}, From: "any"}
}

// closed reports whether the node's packet filter drops what comes for Telnet's port.
func closed(ctx context.Context, n *simulated.Node) bool {
	blocked, _, err := n.Host.BlockedPorts(ctx)
	_, ok := blocked[telnet()]
	return err == nil && ok
}

// drift opens the port on a host behind the agent's back.
func (s *story) drift(ctx context.Context) error {
	n := s.fleet.Nodes[opened]
	s.begin(5, "drift", "Drift", "somebody opens port 23 on "+n.Name+" by hand")
	if err := n.Host.SetBlockedPorts(ctx, map[schema.BlockedPort]time.Duration{}); err != nil {
		return err
	}
	begun := time.Now()
	if closed(ctx, n) {
		begun = time.Now() // it was quicker than a look
	}
	s.row(Row{Nodes: []string{n.Name}, Mark: Bad, Text: "port 23 is open: its rule was deleted from the packet filter"})
	if err := s.until(ctx, func() string { return n.Name + " closes it again" }, func() (bool, error) { return closed(ctx, n), nil }); err != nil {
		return err
	}
	took := time.Since(begun)
	s.row(Row{Nodes: []string{n.Name}, Mark: Good, Text: "port 23 is closed again after " + seconds(took)})
	s.end(ctx, "put right by "+n.Name+" itself; nobody was asked", took)
	return nil
}

// window opens a maintenance window, inside which updates are installed.
func (s *story) window(ctx context.Context) error {
	s.begin(6, "window", "Patch", "a maintenance window is pushed, and it is open now")
	files, from := windowFiles(time.Now())
	want := map[string]int{}
	for _, n := range s.fleet.Nodes {
		want[n.Name] = counts(n)["MissingCount"]

	}
	begun := time.Now()
	installed := func(n *simulated.Node) (out []schema.Change) {
		for _, c := range s.feed.since(begun, n.Name) {
			if kind, _ := parts(c.Resource); kind == schema.KindPatch && c.Result == schema.Changed {
				out = append(out, c)
			}
		}
		return out
	}
	commit, err := s.commit(s.ben, "main", s.head, "Open a maintenance window", files)
	if err != nil {
		return err
	}
	s.head, s.step.Commit = commit, commit
	if _, _, err := s.all(ctx, "security updates are installed", func(n *simulated.Node) bool {
		return holds(n, commit) && counts(n)["MissingCount"] == 0 && len(installed(n)) == want[n.Name]
	}); err != nil {
		return err
	}
	s.good = commit
	took := time.Since(begun)
	updates := 0
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		var did []string
		mark := Good
		for _, c := range installed(n) {
			_, key := parts(c.Resource)
			did = append(did, strings.TrimSuffix(key, ".amd64")+" "+c.Want)
			updates++
		}
		text := strings.Join(did, ", ")
		if counts(n)["InstalledPendingRebootCount"] > 0 {
			mark, text = Attention, text+": in force after a reboot"
		}
		return mark, text
	}) {
		s.row(r)
	}
	s.end(ctx, fmt.Sprintf("%s installed; the window is open from %s to %s UTC", plural(updates, "update", "updates"),
		from.Format("15:04"), from.Add(4*time.Hour).Format("15:04")), took)
	return nil
}

// counts are those of the node's own report line.
func counts(n *simulated.Node) map[string]int {
	l, _ := ownLine(n)
	return l.Counts
}

// intrude pushes what nobody has signed, as somebody does who has the token of a CI job, or the Git server.
func (s *story) intrude(ctx context.Context) error {
	s.begin(7, "intrude", "Intrude", "with a stolen token somebody pushes a commit that opens port 23; nobody has signed it")
	commit, err := s.fleet.Commit("main", s.head, "Fix typo", openFiles(), time.Now())
	if err != nil {
		return err
	}
	s.step.Commit = commit
	reasons := map[string]string{}
	_, last, err := s.all(ctx, "commit "+short(commit)+" is refused", func(n *simulated.Node) bool {
		for _, r := range n.Agent.Status().Refused {
			if r.Commit == commit && r.Kind == string(trust.NotAgreed) {
				reasons[n.Name] = r.Reason
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		why, _, _ := strings.Cut(reasons[n.Name], ": ")
		return Bad, "refused: " + why
	}) {
		s.row(r)
	}
	if err := s.stays(ctx); err != nil {
		return err
	}
	s.end(ctx, fmt.Sprintf("not even read by %d of %d; ann puts the branch back", len(s.fleet.Nodes), len(s.fleet.Nodes)), last)
	return s.fleet.Remote.SetRef("refs/heads/main", s.head)
}

// stays checks and tells that the last good commit is in force.
func (s *story) stays(ctx context.Context) error {
	for _, n := range s.fleet.Nodes {
		if !holds(n, s.good) || !closed(ctx, n) {
			return fmt.Errorf("%s: the last good commit %s is not in force", n.Name, short(s.good))
		}
	}
	s.row(Row{Nodes: nodeNames(s.fleet.Nodes), Mark: Good, Text: "commit " + short(s.good) + " stays in force, port 23 stays closed"})
	return nil
}

// refuse pushes a commit with a fault.
func (s *story) refuse(ctx context.Context) error {
	s.begin(8, "refuse", "Refuse", "ben signs a commit with a slip, which would open port 23 again")
	commit, err := s.commit(s.ben, "main", s.head, "Tidy up", brokenFiles())
	if err != nil {
		return err
	}
	s.head, s.step.Commit = commit, commit
	faults := map[string][]schema.Fault{}
	_, last, err := s.all(ctx, "commit "+short(commit)+" is refused", func(n *simulated.Node) bool {
		for _, r := range n.Agent.Status().Refused {
			if r.Commit == commit && len(r.Faults) > 0 {
				faults[n.Name] = r.Faults
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) {
		return Bad, "refused: " + faults[n.Name][0].String()
	}) {
		s.row(r)
	}
	if err := s.stays(ctx); err != nil {
		return err
	}
	s.end(ctx, fmt.Sprintf("refused whole by %d of %d, with file, line and word", len(s.fleet.Nodes), len(s.fleet.Nodes)), last)
	return nil
}

func nodeNames(nodes []*simulated.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

// reboot switches the host off that waits for it, and on again.
func (s *story) reboot(ctx context.Context) error {
	n := s.fleet.Nodes[rebooted]
	others := slices.DeleteFunc(slices.Clone(s.fleet.Nodes), func(o *simulated.Node) bool { return o == n })
	s.begin(9, "reboot", "Reboot", n.Name+" is rebooted; the broken commit is still what Git says")
	begun := time.Now()
	if err := n.Stop(); err != nil {
		return err
	}
	if err := n.Host.Reboot(); err != nil {
		return err
	}
	lost := func(o *simulated.Node) schema.NodeStatus {
		for _, v := range o.Agent.Nodes() {
			if v.ID == n.Keys.ID() {
				return v.Status
			}
		}
		return ""
	}
	if err := s.until(ctx, func() string { return "the others notice" }, func() (bool, error) {
		return !slices.ContainsFunc(others, func(o *simulated.Node) bool { return lost(o) != schema.ConnectionLost }), nil
	}); err != nil {
		return err
	}
	s.row(Row{Nodes: []string{n.Name}, Mark: Waits, Text: "ConnectionLost, say the others after " + seconds(time.Since(begun))})
	up := time.Now()
	if err := s.start(n); err != nil {
		return err
	}
	if err := s.until(ctx, func() string { return n.Name + " enforces what it has on disk" }, func() (bool, error) { return closed(ctx, n), nil }); err != nil {
		return err
	}
	s.row(Row{Nodes: []string{n.Name}, Mark: Good, Text: "port 23 closed " + seconds(time.Since(up)) + " after its agent starts: the last good commit is on its disk"})
	if err := s.until(ctx, func() string { return n.Name + " is found again" }, func() (bool, error) {
		l, ok := ownLine(n)
		return ok && l.Counts["InstalledPendingRebootCount"] == 0 && holds(n, s.good) &&
			!slices.ContainsFunc(s.fleet.Nodes, func(o *simulated.Node) bool { return online(o) != len(s.fleet.Nodes) }), nil
	}); err != nil {
		return err
	}
	s.end(ctx, n.Name+" is online again, with its new kernel", 0)
	return nil
}
