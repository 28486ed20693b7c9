"""Knowledge distillation: a model learns from the answers of a better and slower one."""
