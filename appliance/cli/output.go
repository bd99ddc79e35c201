package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// forms are those of output, the first where none is asked for.
var forms = []string{"table", "wide", "json", "yaml"}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: forms[0], Usage: "one of " + strings.Join(forms, ", ")}
}

// checkForm has a command refuse forms that there are not, before it does anything.
func checkForm(c *cli.Command) {
	do := c.Action
	if do == nil || flagNamed(c, "output") == nil {
		return
	}
	c.Action = func(c *cli.Context) error {
		form := c.String("output")
		if !slices.Contains(forms, form) {
			u := misuse("%q is no form of output: there are %s", form, strings.Join(forms, ", "))
			u.next = nearest(form, forms)
			return u
		}
		return do(c)
	}
}

// forMachines says whether the output is a document, and holds nothing else.
func forMachines(c *cli.Context) bool {
	form := c.String("output")
	return form == "json" || form == "yaml"
}

// show prints a document: as it is for machines, else as text says.
func show(c *cli.Context, document any, text func()) error {
	switch c.String("output") {
	case "json":
	case "yaml":
		return writeYAML(c.App.Writer, document)
	default:
		text()
		return nil
	}
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(document)
}

// writeYAML writes what JSON would have, in the same order: JSON is YAML, in another style.
func writeYAML(w io.Writer, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return err
	}
	plain(&root)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(&root), e.Close())
}

// plain takes JSON's braces off, and the quotes round what nobody reads as anything but text without them.
func plain(n *yaml.Node) {
	keep := n.Kind == yaml.ScalarNode && n.Tag == "!!str" && (otherThanText.MatchString(n.Value) || n.Value == "")
	if empty := len(n.Content) == 0 && n.Kind != yaml.ScalarNode; !keep && !empty {
		n.Style = 0
	}
	for _, part := range n.Content {
		plain(part)
	}
}

// otherThanText begins with no letter, or is a word that YAML 1.1 has for true, false or nothing.
var otherThanText = regexp.MustCompile(`^([^A-Za-z/]|(?i:y|n|yes|no|on|off|true|false|null)$)`)

// between parts two outputs of one command.
func between(c *cli.Context) {
	line := ""
	if c.String("output") == "yaml" {
		line = "---"
	}
	fmt.Fprintln(c.App.Writer, line)
}

// done says that an order was carried out.
func done(c *cli.Context, document any, format string, args ...any) error {
	return show(c, document, func() { fmt.Fprintf(c.App.Writer, format+"\n", args...) })
}

// wide is the head of a column that only the form of that name has.
type wide string

// list prints a table of all of a kind.
func list[T any](c *cli.Context, all []T, none string, head table.Row, row func(T) table.Row) error {
	return show(c, all, func() {
		if len(all) == 0 {
			fmt.Fprintln(c.App.Writer, none)
			return
		}
		t := newTable(c)
		narrow := c.String("output") != "wide"
		shown := func(row table.Row) (out table.Row) {
			for i, cell := range row {
				if _, more := head[i].(wide); !more || !narrow {
					out = append(out, cell)
				}
			}
			return out
		}
		t.AppendHeader(shown(head))
		for _, v := range all {
			t.AppendRow(shown(row(v)))
		}
		t.Render()
	})
}

// moods are the colours of states that are well, that are not, and in which somebody waits.
var moods = map[string]text.Color{
	"healthy": text.FgGreen, "up": text.FgGreen, "ok": text.FgGreen, "ready": text.FgGreen, "held": text.FgGreen, "safe": text.FgGreen, "done": text.FgGreen,
	"degraded": text.FgYellow, "draining": text.FgYellow, "worn": text.FgYellow, "moving": text.FgYellow, "new": text.FgYellow, "warning": text.FgYellow, "reduced": text.FgYellow, "cancelled": text.FgYellow,
	"waiting": text.FgRed, "down": text.FgRed, "failed": text.FgRed, "ejected": text.FgRed, "missing": text.FgRed, "expelled": text.FgRed, "critical": text.FgRed, "unknown": text.FgRed,
}

// mood is a state in its colour, on a terminal. What stands behind the first comma has none.
func mood(c *cli.Context, state string) string {
	word, _, _ := strings.Cut(state, ",")
	colour, known := moods[word]
	if !known || !colourful(c.App.Writer) {
		return state
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, word) + state[len(word):]
}

// colourful says whether somebody sees colours there, and wants to (no-color.org).
func colourful(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && isTerminal(w)
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
