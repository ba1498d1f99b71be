"""What users create: data sets, pools, teachers, searches, distillations, tokens."""
