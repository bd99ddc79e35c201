package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ashlar/appliance/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// outputOf is what a command with that action prints in a form.
func outputOf(t *testing.T, out io.Writer, form string, do cli.ActionFunc) {
	t.Helper()
	app := &cli.App{Name: "ashlar", Writer: out, Commands: []*cli.Command{{Name: "x", Flags: []cli.Flag{outputFlag()}, Action: do}}}
	prepare(app.Commands)
	if err := app.Run([]string{"ashlar", "x", "-o", form}); err != nil {
		t.Fatal(err)
	}
}

func TestYAMLHasTheValuesOfJSONInTheirOrder(t *testing.T) {
	var out bytes.Buffer
	lun := uint16(7)
	document := []api.Volume{{Name: "null", Size: 1<<64 - 1, State: "healthy", IQN: "iqn.2026-11.io.ashlar:a.b", Exports: []api.Export{{Volume: "1e3", Host: "yes", LUN: &lun}}}, {Exports: []api.Export{}}}
	outputOf(t, &out, "yaml", func(c *cli.Context) error { return show(c, document, nil) })
	want := `- id: 0
  name: "null"
  size: 18446744073709551615
  copies: 0
  state: healthy
  head: ""
  epoch: 0
  segments: 0
  shared_domains: 0
  in_sync: 0
  replicas: 0
  iqn: iqn.2026-11.io.ashlar:a.b
  nqn: ""
  nsid: 0
  exports:
    - volume: "1e3"
      host: "yes"
      read_only: false
      lun: 7
- id: 0
`
	if !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "  exports: []\n") {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}

func TestWideHasMoreColumns(t *testing.T) {
	for form, want := range map[string]string{"table": "A  B \n1  2 \n", "wide": "A  MORE  B \n1     9  2 \n"} {
		var out bytes.Buffer
		outputOf(t, &out, form, func(c *cli.Context) error {
			return list(c, []int{1}, "", table.Row{"a", wide("more"), "b"}, func(n int) table.Row { return table.Row{n, 9, 2} })
		})
		trim := regexp.MustCompile(` +\n`)
		if got := trim.ReplaceAllString(out.String(), " \n"); got != want {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
	}
}

func TestComplaintsHaveTheFormThatWasAskedFor(t *testing.T) {
	for form, want := range map[string]string{
		"json": `{"code":"usage","detail":"ashlar volume list has no flag \"--nmae\"","next":"see: ashlar volume list --help"}`,
		"yaml": "code: usage\ndetail: ashlar volume list has no flag \"--nmae\"\n",
		"wide": `ashlar: ashlar volume list has no flag "--nmae" (`,
	} {
		for _, flag := range [][]string{{"-o", form}, {"--output=" + form}} {
			if r := here("", append([]string{"volume", "list", "--nmae"}, flag...)...); r.code != misused || !strings.HasPrefix(r.stderr, want) {
				t.Errorf("%v: %d, %q", flag, r.code, r.stderr)
			}
		}
	}
}

// TestEveryCommandHasAllForms of output, but those that print what another program reads, or nothing.
func TestEveryCommandHasAllForms(t *testing.T) {
	for path, c := range leaves(newApp("test", nil).Commands) {
		if slices.Contains([]string{"serve"}, path) {
			continue
		}
		if flagNamed(c, "output") == nil {
			t.Errorf("ashlar %s has no --output", path)
		}
	}
}

func TestColoursAreForTerminalsAndWhoWantsThem(t *testing.T) {
	const green = "\x1b[32mhealthy\x1b[0m"
	say := func(c *cli.Context) error { _, err := fmt.Fprint(c.App.Writer, mood(c, "healthy, or so")); return err }
	var pipe bytes.Buffer
	if outputOf(t, &pipe, "table", say); pipe.String() != "healthy, or so" {
		t.Errorf("into a pipe: %q", pipe.String())
	}
	for _, c := range []struct{ name, value, want string }{{"TERM", "xterm", green + ", or so"}, {"TERM", "dumb", "healthy, or so"}, {"NO_COLOR", "1", "healthy, or so"}} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			t.Setenv("NO_COLOR", "")
			t.Setenv(c.name, c.value)
			master, terminal := newTerminal(t)
			outputOf(t, terminal, "table", say)
			got := make([]byte, 100)
			n, err := master.Read(got)
			if err != nil || string(got[:n]) != c.want {
				t.Errorf("%q, %v; want %q", got[:n], err, c.want)
			}
		})
	}
}

// newTerminal is both ends of one.
func newTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}
