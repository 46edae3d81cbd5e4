//go:build tools

// Package tools names the csi-provisioner that e2e/kubernetes runs, so that go.mod and go.sum pin it and
// all that it is made of. Its module has replace directives, which `go install` refuses.
package tools

import (
	_ "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"
)
