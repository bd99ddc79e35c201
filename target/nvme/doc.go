// Package nvme is NVMe over Fabrics above the transport (NVMe Base 2.0, NVM
// Command Set 1.0): subsystems, whose namespaces are Devices, and the controllers
// that hosts make of them. A carrier, package nvmetcp, brings commands and takes
// answers.
package nvme
