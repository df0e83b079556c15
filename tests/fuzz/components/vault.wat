;; itself
;; Wants something that the host does not have.
(component
  (import "reprieve:policy/vault@0.2.0" (instance (export "password" (func (result string)))))
  (import "wasi:http/types@0.2.3" (instance)))
