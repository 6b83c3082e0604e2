package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) inventoryCommand() *cobra.Command {
	var types []string
	var facts bool
	var root, node string
	var at socketFlags
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "What this host or another node has, in SSM's inventory types",
		Long: `Print what this host is and has, in the inventory types of AWS Systems Manager:
` + "  " + strings.Join(typeNames(), "\n  ") + `

It reads files only and changes nothing; nothing of it needs root. With --facts
it prints what judging patches needs instead, as JSON: installed packages and
every newer version that apt knows (give the file to dunlin baseline judge).

With --node the agent of this host asks the agent of that node, which looks now.

Exit status: 0; with --node 9 no such node; 5 no agent answers here, or the node does
not answer; 4 not allowed.`,
		Example: `  dunlin inventory
  sudo dunlin inventory --node web-2 --type AWS:Application
  dunlin inventory --type AWS:Application -o json
  dunlin inventory --facts > web-1.facts.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want, err := chosenTypes(types)
			if err != nil {
				return err
			}
			if node != "" {
				if facts || root != "/" {
					return usageError{errors.New("--node and --facts exclude each other: facts of other nodes are on the reports branch")}
				}
				return a.printInventoryOf(cmd.Context(), at, node, want)
			}
			if facts {
				if len(types) > 0 {
					return usageError{errors.New("--facts and --type exclude each other")}
				}
				return a.printFacts(cmd.Context(), root)
			}
			return a.printInventory(cmd.Context(), root, want)
		},
	}
	cmd.Flags().StringArrayVar(&types, "type", nil, "only this type")
	cmd.Flags().BoolVar(&facts, "facts", false, "print the facts file for judging patches, as JSON")
	cmd.Flags().StringVar(&root, "root", "/", "read the host below this folder")
	_ = cmd.Flags().MarkHidden("root")
	cmd.Flags().StringVar(&node, "node", "", "ask this node, by name or id")
	at.add(cmd)
	return cmd
}

func typeNames() []string {
	var out []string
	for _, t := range inventory.Types() {
		out = append(out, string(t))
	}
	return out
}

// chosenTypes gives the types to print; none named means all.
func chosenTypes(names []string) ([]inventory.Type, error) {
	all := inventory.Types()
	if len(names) == 0 {
		return all, nil
	}
	var out []inventory.Type
	for _, n := range names {
		t := inventory.Type(n)
		if !slices.Contains(all, t) {
			return nil, usageError{fmt.Errorf("--type %q is not one of %s", n, strings.Join(typeNames(), ", "))}
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// inputError gives an error of package inventory its remedy.
func inputError(err error) error {
	if hint := inventory.Hint(err); hint != "" {
		return exitWith{code: exitError, err: err, hint: hint}
	}
	return err
}

func (a *app) printFacts(ctx context.Context, root string) error {
	var last []schema.LastInstall
	if root == "/" {
		var err error
		if last, err = (host.LastInstalls{Path: defaultState + "/lastinstall.json"}).Read(); err != nil {
			a.note(fmt.Sprintf("warning: %s: facts lack what was installed last", err), "")
		}
	}
	f, p, err := inventory.ReadFacts(ctx, inventory.Options{Root: root}, inventory.Known{At: time.Now().Truncate(time.Second), LastInstall: last})
	if err != nil {
		return inputError(err)
	}
	a.warn(p.Warnings)
	return a.printJSON(f)
}

// warn says what was passed over, on standard error.
func (a *app) warn(warnings []error) {
	for _, w := range warnings {
		a.note("warning: "+w.Error(), inventory.Hint(w))
	}
}

func (a *app) printInventory(ctx context.Context, root string, types []inventory.Type) error {
	g := inventory.Gather{Root: root, AgentVersion: version}
	if root == "/" {
		g.Units = loadedUnits
	}
	got, err := gather(ctx, g, types)
	if err != nil {
		return inputError(err)
	}
	if a.json() {
		return a.printInventoryJSON(got)
	}
	for i, t := range types {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		if err := a.printItems(t, got[t]); err != nil {
			return err
		}
	}
	return nil
}

// printInventoryOf prints what a node says of itself.
func (a *app) printInventoryOf(ctx context.Context, at socketFlags, node string, types []inventory.Type) error {
	var names []string
	for _, t := range types {
		names = append(names, string(t))
	}
	got, err := ask(ctx, a, at, slowAnswer, func(ctx context.Context, c *api.Client) (map[string]json.RawMessage, error) {
		return c.Inventory(ctx, node, names)
	})
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(got)
	}
	for i, t := range types {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		items, err := readItems(t, got[string(t)])
		if err != nil {
			return fmt.Errorf("inventory of node %q: %s is not what this version reads: %w", node, t, err)
		}
		if err := a.printItems(t, items); err != nil {
			return err
		}
	}
	return nil
}

// readItems reads the items of a type; what is missing is no item.
func readItems(t inventory.Type, raw json.RawMessage) (any, error) {
	if raw == nil {
		raw = json.RawMessage("[]")
	}
	switch t {
	case inventory.ApplicationType:
		return readAs[inventory.Application](raw)
	case inventory.InstanceInformationType:
		return readAs[inventory.InstanceInformation](raw)
	case inventory.NetworkType:
		return readAs[inventory.Network](raw)
	case inventory.InstanceDetailedInformationType:
		return readAs[inventory.InstanceDetailedInformation](raw)
	}
	return readAs[inventory.Service](raw)
}

func readAs[T any](raw json.RawMessage) (any, error) {
	var v []T
	err := json.Unmarshal(raw, &v)
	return v, err
}

// printInventoryJSON prints what printJSON would. Applications are written by
// package inventory, since they are hundreds.
func (a *app) printInventoryJSON(got map[inventory.Type]any) error {
	w := bufio.NewWriterSize(a.out, 32<<10)
	for i, t := range slices.Sorted(maps.Keys(got)) {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(w, "%s\n  %q: ", sep, string(t))
		if apps, ok := got[t].([]inventory.Application); ok {
			inventory.WriteApplications(w, apps, "  ")
			continue
		}
		var v bytes.Buffer
		enc := json.NewEncoder(&v)
		enc.SetEscapeHTML(false)
		enc.SetIndent("  ", "  ")
		if err := enc.Encode(got[t]); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		_, _ = w.Write(bytes.TrimSuffix(v.Bytes(), []byte{'\n'}))
	}
	_, _ = w.WriteString("\n}\n")
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// gather collects each type; the values are slices of the type's items. Asking systemd is mostly waiting, so that
// each type has a goroutine, all joined. Of several errors the first in the order of types is told.
func gather(ctx context.Context, g inventory.Gather, types []inventory.Type) (map[inventory.Type]any, error) {
	values, errs := make([]any, len(types)), make([]error, len(types))
	var wg sync.WaitGroup
	for i, t := range types {
		wg.Go(func() { values[i], errs[i] = gatherType(ctx, g, t) })
	}
	wg.Wait()
	out := make(map[inventory.Type]any, len(types))
	for i, t := range types {
		if errs[i] != nil {
			return nil, errs[i]
		}
		out[t] = values[i]
	}
	return out, nil
}

func gatherType(ctx context.Context, g inventory.Gather, t inventory.Type) (any, error) {
	switch t {
	case inventory.ApplicationType:
		return g.Applications(ctx)
	case inventory.InstanceInformationType:
		return g.Instance()
	case inventory.NetworkType:
		return g.Networks()
	case inventory.InstanceDetailedInformationType:
		return g.Details()
	case inventory.ServiceType:
		return g.Services(ctx)
	}
	return nil, fmt.Errorf("no inventory of type %q", t)
}

// loadedUnits carries systemd's units from the host to the inventory.
func loadedUnits(ctx context.Context) ([]inventory.Unit, error) {
	units, err := host.LoadedUnits(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]inventory.Unit, len(units))
	for i, u := range units {
		out[i] = inventory.Unit{Name: u.Name, Description: u.Description, LoadState: u.LoadState, ActiveState: u.ActiveState, SubState: u.SubState}
	}
	return out, nil
}
