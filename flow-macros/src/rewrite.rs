//! The body of a `#[dag]`: calls of tasks become calls of their node builders.
//!
//! A call is one of a task when its callee is a path that ends in a snake_case name, unless the name before it is a type
//! (`Trip::new`), or the last is `expand` or `node`, or the name is bound in the body. So constructors, methods and `(helper)(x)` stay
//! as they are, and a helper called by mistake does not compile: it has no `node`.

use crate::task::PRIMITIVES;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Expr, Ident, Item, Pat, Path, Stmt, Token, parse_quote, parse_quote_spanned};

/// Rewrites the body; `bound` are the names of the params, `private` the path of the runtime.
pub fn rewrite(block: &mut Block, bound: Vec<Ident>, private: &proc_macro2::TokenStream) {
    let names = bound.iter().map(Ident::to_string).collect();
    Rewriter { scopes: vec![names], private: private.clone() }.visit_block_mut(block);
}

struct Rewriter {
    /// Names bound in each scope around here, the innermost last.
    scopes: Vec<Vec<String>>,
    private: proc_macro2::TokenStream,
}

impl Rewriter {
    fn scope(&mut self, body: impl FnOnce(&mut Self)) {
        self.scopes.push(Vec::new());
        body(self);
        self.scopes.pop();
    }

    fn bind(&mut self, pat: &Pat) {
        struct Names<'a>(&'a mut Vec<String>);
        impl<'ast> Visit<'ast> for Names<'_> {
            fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
                self.0.push(pat.ident.to_string());
                syn::visit::visit_pat_ident(self, pat);
            }
        }
        let innermost = self.scopes.last_mut().expect("the scope of the body");
        Names(innermost).visit_pat(pat);
    }

    fn is_bound(&self, name: &str) -> bool {
        self.scopes.iter().any(|s| s.iter().any(|n| n == name))
    }

    /// A task call, with options or without, or a variable: what `let (a, b) = ..` may have to take apart.
    fn may_be_node(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Call(call) => matches!(&*call.func, Expr::Path(callee) if callee.qself.is_none()
                && (self.is_task(&callee.path) || callee.path.segments.last().is_some_and(|s| s.ident == "node" || s.ident == "expand"))),
            Expr::MethodCall(call) => self.may_be_node(&call.receiver),
            Expr::Path(path) => path.path.get_ident().is_some(),
            Expr::Paren(paren) => self.may_be_node(&paren.expr),
            _ => false,
        }
    }

    fn is_task(&self, path: &Path) -> bool {
        let mut from_last = path.segments.iter().rev();
        let Some(last) = from_last.next() else {
            return false;
        };
        let name = last.ident.to_string();
        let of_a_type = from_last.next().is_some_and(|s| starts_upper(&s.ident) || is_primitive(&s.ident));
        let local = path.segments.len() == 1 && self.is_bound(&name);
        last.arguments.is_none()
            && !starts_upper(&last.ident)
            && !of_a_type
            && name != "expand"
            && name != "node"
            && !local
    }
}

/// `u64::from(x)` is a function of a type, too.
fn is_primitive(ident: &Ident) -> bool {
    PRIMITIVES.iter().any(|name| ident == name)
}

fn starts_upper(ident: &Ident) -> bool {
    ident.to_string().trim_start_matches("r#").trim_start_matches('_').starts_with(char::is_uppercase)
}

/// An array literal beside `>>` may hold nodes of different types.
fn mix_types(side: &mut Expr, private: &proc_macro2::TokenStream) {
    match side {
        Expr::Paren(paren) => mix_types(&mut paren.expr, private),
        Expr::Group(group) => mix_types(&mut group.expr, private),
        Expr::Array(array) => {
            let nodes = array.elems.iter();
            *side = parse_quote!(#private::Nodes::new()#(.and(#nodes))*);
        }
        _ => {}
    }
}

impl VisitMut for Rewriter {
    fn visit_expr_call_mut(&mut self, call: &mut syn::ExprCall) {
        for arg in &mut call.args {
            self.visit_expr_mut(arg);
        }
        match &mut *call.func {
            Expr::Path(callee) if callee.qself.is_none() && self.is_task(&callee.path) => {
                let task = &callee.path;
                let span = task.segments.last().expect("a path has a segment").ident.span();
                // As a type, so that a helper is told to be a function where a type was expected.
                let node = Ident::new("node", span);
                // All of it stands where the author wrote the call: there the compiler points when the count is wrong.
                call.func = parse_quote_spanned!(span=> <#task>::#node);
            }
            // A path that is no task, or a helper in parentheses: as it is.
            Expr::Path(_) | Expr::Paren(_) => {}
            other => self.visit_expr_mut(other),
        }
    }

    fn visit_expr_binary_mut(&mut self, binary: &mut syn::ExprBinary) {
        visit_mut::visit_expr_binary_mut(self, binary);
        if matches!(binary.op, BinOp::Shr(_) | BinOp::Shl(_)) {
            mix_types(&mut binary.left, &self.private);
            mix_types(&mut binary.right, &self.private);
        }
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        self.scope(|this| {
            // A function written inside the body is a helper, from the block's first line on.
            for statement in &block.stmts {
                if let Stmt::Item(Item::Fn(function)) = statement
                    && !function.attrs.iter().any(|a| a.path().segments.last().is_some_and(|s| s.ident == "task"))
                {
                    let name = function.sig.ident.to_string();
                    this.scopes.last_mut().expect("the scope of the block").push(name);
                }
            }
            visit_mut::visit_block_mut(this, block);
        });
    }

    fn visit_local_mut(&mut self, local: &mut syn::Local) {
        if let Some(init) = &mut local.init {
            let node = matches!(local.pat, Pat::Tuple(_)) && self.may_be_node(&init.expr);
            self.visit_expr_mut(&mut init.expr);
            if node {
                let (private, whole) = (&self.private, &init.expr);
                *init.expr = parse_quote_spanned!(whole.span()=> #private::parts(#whole));
            }
            if let Some((_, otherwise)) = &mut init.diverge {
                self.visit_expr_mut(otherwise);
            }
        }
        self.bind(&local.pat);
    }

    fn visit_expr_closure_mut(&mut self, closure: &mut syn::ExprClosure) {
        self.scope(|this| {
            closure.inputs.iter().for_each(|pat| this.bind(pat));
            this.visit_expr_mut(&mut closure.body);
        });
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        self.scope(|this| {
            this.bind(&arm.pat);
            visit_mut::visit_arm_mut(this, arm);
        });
    }

    fn visit_expr_for_loop_mut(&mut self, each: &mut syn::ExprForLoop) {
        self.visit_expr_mut(&mut each.expr);
        self.scope(|this| {
            this.bind(&each.pat);
            this.visit_block_mut(&mut each.body);
        });
    }

    fn visit_expr_if_mut(&mut self, branch: &mut syn::ExprIf) {
        self.scope(|this| {
            // What `if let` binds is seen in the condition's rest and in the block, not in `else`.
            this.visit_expr_mut(&mut branch.cond);
            this.visit_block_mut(&mut branch.then_branch);
        });
        if let Some((_, otherwise)) = &mut branch.else_branch {
            self.visit_expr_mut(otherwise);
        }
    }

    fn visit_expr_while_mut(&mut self, each: &mut syn::ExprWhile) {
        self.scope(|this| {
            this.visit_expr_mut(&mut each.cond);
            this.visit_block_mut(&mut each.body);
        });
    }

    fn visit_expr_let_mut(&mut self, binding: &mut syn::ExprLet) {
        self.visit_expr_mut(&mut binding.expr);
        self.bind(&binding.pat);
    }

    fn visit_item_mut(&mut self, _: &mut Item) {
        // A function or a module inside the body is plain Rust.
    }

    fn visit_macro_mut(&mut self, mac: &mut syn::Macro) {
        // `vec![x; n]`, and whatever reads as expressions with commas between: `vec!`, `format!`, `println!`.
        if let Ok(mut repeat) = mac.parse_body_with(parse_repeat) {
            self.visit_expr_mut(&mut repeat.0);
            self.visit_expr_mut(&mut repeat.1);
            let (value, count) = repeat;
            mac.tokens = quote::quote!(#value; #count);
        } else if let Ok(mut list) = mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated) {
            list.iter_mut().for_each(|e| self.visit_expr_mut(e));
            mac.tokens = quote::quote!(#list);
        }
    }
}

fn parse_repeat(input: syn::parse::ParseStream<'_>) -> syn::Result<(Expr, Expr)> {
    let value = input.parse()?;
    input.parse::<Token![;]>()?;
    Ok((value, input.parse()?))
}
