package cli

import (
	"encoding/json"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

func asJSON(c *cli.Context) bool { return c.String("output") == "json" }

// show prints a document: as it is for machines, else as text says.
func show(c *cli.Context, document any, text func()) error {
	if !asJSON(c) {
		text()
		return nil
	}
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(document)
}

// done says that an order was carried out.
func done(c *cli.Context, document any, format string, args ...any) error {
	return show(c, document, func() { fmt.Fprintf(c.App.Writer, format+"\n", args...) })
}

// list prints a table of all of a kind.
func list[T any](c *cli.Context, all []T, none string, head table.Row, row func(T) table.Row) error {
	return show(c, all, func() {
		if len(all) == 0 {
			fmt.Fprintln(c.App.Writer, none)
			return
		}
		t := newTable(c)
		t.AppendHeader(head)
		for _, v := range all {
			t.AppendRow(row(v))
		}
		t.Render()
	})
}

// facts prints a table of names and values.
func facts(c *cli.Context, rows ...table.Row) {
	t := newTable(c)
	t.AppendRows(rows)
	t.Render()
}

func newTable(c *cli.Context) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(c.App.Writer)
	t.SetStyle(table.StyleDefault)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Box.PaddingLeft = ""
	t.Style().Box.PaddingRight = "  "
	return t
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
