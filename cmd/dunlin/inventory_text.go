package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/dunlin-dev/dunlin/agent/inventory"
)

// printItems shows a type as a table, one item a line, or as attributes and
// values where there is only one item.
func (a *app) printItems(t inventory.Type, items any) error {
	var head []string
	var rows [][]string
	switch items := items.(type) {
	case []inventory.Application:
		head = []string{"NAME", "VERSION", "ARCH", "INSTALLED", "SUMMARY"}
		for _, i := range items {
			day, _, _ := strings.Cut(i.InstalledTime, "T")
			rows = append(rows, []string{i.Name, i.Version, i.Architecture, day, i.Summary})
		}
	case []inventory.Service:
		head = []string{"NAME", "STATUS", "START", "DESCRIPTION"}
		for _, i := range items {
			rows = append(rows, []string{i.Name, i.Status, i.StartType, i.DisplayName})
		}
	case []inventory.Network:
		head = []string{"NAME", "MAC", "IPV4", "IPV6"}
		for _, i := range items {
			rows = append(rows, []string{i.Name, i.MacAddress, i.IPv4, i.IPv6})
		}
	case []inventory.InstanceInformation:
		for _, i := range items {
			rows = append(rows, []string{"Computer", i.ComputerName}, []string{"Address", i.IPAddress},
				[]string{"Platform", i.PlatformName + " " + i.PlatformVersion}, []string{"Agent", i.AgentType + " " + i.AgentVersion})
		}
	case []inventory.InstanceDetailedInformation:
		for _, i := range items {
			rows = append(rows, []string{"CPU", i.CPUModel}, []string{"CPUs", fmt.Sprintf("%d in %d cores of %d sockets", i.CPUs, i.CPUCores, i.CPUSockets)},
				[]string{"MHz", strconv.Itoa(i.CPUSpeedMHz)}, []string{"Kernel", i.KernelVersion})
		}
	}
	w := bufio.NewWriter(a.out)
	fmt.Fprintf(w, "%s\n", t)
	writeTable(w, head, rows, a.width())
	return w.Flush()
}

// width is the terminal's, or 0 if the output is none: then nothing is cut.
func (a *app) width() int {
	if a.columns > 0 {
		return a.columns
	}
	f, ok := a.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w < 20 {
		return 80
	}
	return w
}

const maxColumn = 40 // characters of a column that is not the last, on a terminal

// writeTable aligns columns. On a terminal of the given width, columns but the
// last take at most maxColumn characters and lines are cut at the border; what
// a package wrote cannot move the cursor.
func writeTable(w *bufio.Writer, head []string, rows [][]string, width int) {
	if len(rows) == 0 {
		w.WriteString("  none\n")
		return
	}
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	wide := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			r[i] = printable(r[i])
			n := len([]rune(r[i]))
			if width > 0 {
				n = min(n, maxColumn)
			}
			wide[i] = max(wide[i], n)
		}
	}
	var line []rune
	for _, r := range rows {
		line = append(line[:0], ' ', ' ')
		for i, cell := range r {
			c := []rune(cell)
			if i == len(r)-1 {
				line = append(line, c...)
				break
			}
			if len(c) > wide[i] {
				c = append(c[:wide[i]-1:wide[i]-1], '…')
			}
			line = append(line, c...)
			for n := len(c); n < wide[i]+2; n++ {
				line = append(line, ' ')
			}
		}
		if width > 0 && len(line) > width {
			line = append(line[:width-1], '…')
		}
		w.WriteString(strings.TrimRight(string(line), " "))
		w.WriteByte('\n')
	}
}
